"""The items of TRIPOD+AI (Collins et al., BMJ 2024;385:e078378), in our own words, and what a run cannot say of each.

Numbers and order were compared with the published checklist (its table 2, PMC11019967): 27 items, 52 with their parts.

A report generated from a run answers what the run knows. An item that depends on how patients were recruited, who measured
what, or what the authors decided is named as open, so that nobody takes the report for complete.
"""

from __future__ import annotations

from collections.abc import Collection

ITEMS: dict[str, tuple[str, str]] = {
    "1": ("Title: development or evaluation, population, outcome", ""),
    "2": ("Abstract (TRIPOD+AI for Abstracts)", "to be written by the authors"),
    "3a": ("Background: healthcare context, rationale, existing models", "to be written by the authors"),
    "3b": ("Target population, purpose in the care pathway, intended users", ""),
    "3c": ("Known health inequalities between groups", "to be written by the authors"),
    "4": ("Objectives: development, evaluation or both", ""),
    "5a": ("Sources of data, and how representative they are", "why these centres, and whom they stand for, is not known"),
    "5b": ("Dates of the participants' data", "dates are removed when a cohort is imported"),
    "6a": ("Setting, number and location of centres", "centres are codes; setting and location are not in the data"),
    "6b": ("Eligibility criteria", "not in the data"),
    "6c": ("Treatments received", "not in the data"),
    "7": ("Data preparation and quality checks, alike over groups", ""),
    "8a": ("Outcome: definition, horizon, how and when assessed", "when and how it was assessed is not in the data"),
    "8b": ("Outcome: who assessed it, where that takes judgement", "not in the data"),
    "8c": ("Outcome: blinding of its assessment", "not in the data"),
    "9a": ("Predictors: choice before modelling", ""),
    "9b": ("Predictors: definition, how and when measured", "when and by what device is not in the data"),
    "9c": ("Predictors: who measured them, where that takes judgement", "not in the data"),
    "10": ("Sample size: how it was arrived at", "whether the sizes were planned is for the authors to say"),
    "11": ("Missing data: how handled", ""),
    "12a": ("Analysis: which data for what", ""),
    "12b": ("Analysis: how predictors were handled", ""),
    "12c": ("Analysis: type of model, building steps, internal validation", ""),
    "12d": ("Analysis: heterogeneity between clusters", ""),
    "12e": ("Analysis: measures and plots of performance", ""),
    "12f": ("Analysis: updating after evaluation", ""),
    "12g": ("Analysis: how predictions were made for evaluation", ""),
    "13": ("Class imbalance: how handled", ""),
    "14": ("Fairness: approaches and their rationale", ""),
    "15": ("Output of the model, and thresholds", ""),
    "16": ("Differences between development and evaluation data", ""),
    "17": ("Ethical approval and consent", "not in the data"),
    "18a": ("Funding", "to be written by the authors"),
    "18b": ("Conflicts of interest", "to be written by the authors"),
    "18c": ("Protocol", "to be written by the authors"),
    "18d": ("Registration", "to be written by the authors"),
    "18e": ("Availability of the data", "to be written by the authors"),
    "18f": ("Availability of the code", ""),
    "19": ("Patient and public involvement", "to be written by the authors"),
    "20a": ("Participants: flow, with and without the outcome", ""),
    "20b": ("Participants: characteristics, missing data", ""),
    "20c": ("Participants: predictors compared with the development data", "checkpoints do not keep the training predictors"),
    "21": ("Participants and events in each analysis", ""),
    "22": ("Full model: how to obtain predictions", ""),
    "23a": ("Performance with intervals, subgroups included", ""),
    "23b": ("Heterogeneity of performance between clusters", ""),
    "24": ("Results of updating", ""),
    "25": ("Interpretation, with fairness", "to be written by the authors"),
    "26": ("Limitations", ""),
    "27a": ("Use: poor or missing input", ""),
    "27b": ("Use: interaction and expertise", ""),
    "27c": ("Next steps, applicability", "to be written by the authors"),
}  # fmt: skip
"""Item → what it asks for, and what a run cannot say of it (empty where it can say all)."""


def rows(answered: dict[str, str], without: Collection[str] = ()) -> tuple[tuple[str, str, str], ...]:
    """Every item with the section that answers it, or why it cannot be answered from the run.

    Parameters
    ----------
    answered : section by item.
    without : items that this run in particular leaves open, though others answer them.
    """
    result = []
    for item, (asked, open_) in ITEMS.items():
        section = "" if item in without else answered.get(item, "")
        if section and open_:
            told = f"in part: {section}. Open: {open_}."
        elif section:
            told = section
        else:
            told = f"Cannot be answered from the run: {open_ or 'no data of it in this run'}."
        result.append((item, asked, told))
    return tuple(result)
