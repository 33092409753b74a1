"""The model card, and the performance report after TRIPOD+AI: from a checkpoint and a judged cohort to a document.

What the run does not know is said to be open; nothing is made up to fill an item.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from model.cohort.discrimination import Estimate, Rate
from model.cohort.evaluate import LABELS, evaluate
from model.cohort.scores import ScoredCases
from model.cohort.table_one import table_one
from model.errors import StatisticsError
from model.reporting.document import Block, Bullets, Document, Picture, Section, Table, Text
from model.reporting.performance import Division, too_few
from model.reporting.plots import benefit_plot, calibration_plot, roc_plot
from model.reporting.study import Study, Subject
from model.reporting.tripod import rows
from model.schema import Field, Schema

MARK = "Research and teaching only · not a medical device"
MARK_SYNTHETIC = "Trained on synthetic data · research and teaching only · not a medical device"
_NO_SPREAD = "no interval: the outcomes do not overlap"
_SHOWN_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def model_card(subject: Subject, study: Study | None = None, *, version: str, date: str) -> Document:
    """What there is to say of a model; with a judged cohort, the performance report after TRIPOD+AI too.

    Parameters
    ----------
    version : of this software.
    date : of the document, as it is to be read.
    """
    synthetic = subject.card.get("training_data") == "synthetic"
    sections = _card_sections(subject)
    title = f"Model card: {subject.card['name']}"
    if study is not None:
        sections += _report_sections(subject, study)
        title = f"{subject.schema.endpoint.label}: model card and performance report of {subject.card['name']}"
        sections.append(_checklist(sections, study))
    return Document(
        MARK_SYNTHETIC if synthetic else MARK,
        title,
        f"{subject.identity}. {date}, LLNM Explorer {version}.",
        tuple(sections),
    )


# --- model card -----------------------------------------------------------------------------------------------------------


def _card_sections(subject: Subject) -> list[Section]:
    card, schema = subject.card, subject.schema
    return [
        Section("Intended use", _use(subject), ("3b", "27b")),
        Section("Figures at a glance", _glance(subject), ()),
        Section("Training data", _data(card), ("5a", "6a", "12a", "21")),
        Section("What the model reads", _fields(schema), ("9a", "9b", "12b")),
        Section("Model and training", _training(card), ("10", "12c", "13", "22")),
        Section("What the model gives", _output(subject), ("15",)),
        Section("Missing and poor input", _missing_input(schema), ("11", "27a")),
        Section("Limits", (Bullets((*map(str, _listed(card.get("limits"))), *_limits(subject))),), ("26",)),
        Section("Versions and hashes", _versions(card), ("18f",)),
    ]


def _use(subject: Subject) -> tuple[Block, ...]:
    card, endpoint = subject.card, subject.schema.endpoint
    synthetic = card.get("training_data") == "synthetic"
    return (
        Text(str(card.get("purpose") or f"Risk of {endpoint.phrase} before thyroid surgery.")),
        Bullets(
            (
                "Users: researchers and teachers who can read a calibrated probability with its interval, and judge the outlines "
                "of nodule and gland that it rests on. Outlines can be drawn by hand and every prediction can be explained case by "
                "case.",
                "Not for: the diagnosis or treatment of a patient, screening, or anyone who cannot check the input.",
                "Trained on synthetic patients: its figures say nothing about real ones."
                if synthetic
                else "Valid at best for patients like those of the training cohort; judge it on your own cases first.",
            )
        ),
    )


def _glance(subject: Subject) -> tuple[Block, ...]:
    card, scores = subject.card, subject.validation
    blocks: list[Block] = [_figures(scores, f"Validation cases ({card.get('validation_by', 'cases held back')}).")]
    external = _mapping(card.get("external"))
    if external:
        told = [
            (LABELS[name], f"{value:.3f}{_of(name, external)}", _range(external.get(f"{name}_ci")))
            for name, value in external.items()
            if name in LABELS and isinstance(value, int | float)
        ]
        caption = (
            f"Held-out cases, as noted on the card when the model was made: {_count(external.get('n'))} cases, "
            f"{_count(external.get('positives'))} with the outcome."
        )
        blocks.append(Table(("figure", "value (cases)", "95 % interval"), tuple(told), caption, (0.42, 0.3, 0.28)))
    return tuple(blocks)


def _of(name: str, external: Mapping[str, Any]) -> str:
    """How many cases a figure of the card is of, where the card tells."""
    n, positives = external.get("n"), external.get("positives")
    if not (isinstance(n, int) and isinstance(positives, int)) or name.endswith("_miou"):
        return ""
    of = {"sensitivity": positives, "specificity": n - positives, "stage_auroc": positives}
    return f" (n = {of.get(name, n):,})"


def _figures(scores: ScoredCases, of: str) -> Table:
    """Discrimination and calibration of scored cases, with intervals and denominators."""
    found = evaluate(scores)
    told = [] if found.auroc is None else [_estimate("AUROC", found.auroc, len(scores))]
    told += [
        _rate("sensitivity at 0.5", found.sensitivity), _rate("specificity at 0.5", found.specificity),
        _rate("accuracy at 0.5", found.accuracy), _estimate("Brier score", found.brier, len(scores)),
        _estimate("calibration error (ECE)", found.ece, len(scores)),
    ]  # fmt: skip
    caption = (
        f"{of} {len(scores):,} cases, {scores.positives:,} with the outcome. They chose the epoch and the temperature, so these "
        "figures are a little too good."
    )
    return Table(("figure", "value (counts)", "95 % interval"), tuple(told), caption, (0.42, 0.3, 0.28))


def _data(card: Mapping[str, Any]) -> tuple[Block, ...]:
    cohort = _mapping(card.get("cohort"))
    lines = [
        ("Cohort", str(cohort.get("name", "not on the card"))),
        ("Kind of data", str(card.get("training_data", "not on the card"))),
        ("Cases", _count(cohort.get("cases"))),
        ("Centres", ", ".join(map(str, _listed(cohort.get("centres")))) or "not given"),
        ("Training cases", _count(card.get("training_cases"))),
        (
            "Validation cases",
            f"{_count(card.get('validation_cases'))} ({card.get('validation_by', 'cases held back')})",
        ),
    ]
    if card.get("left_out"):
        lines.append(("Centre left out", str(card["left_out"])))
    return (_pairs(lines),)


def _fields(schema: Schema) -> tuple[Block, ...]:
    given = [f for f in schema.fields if f.is_token]
    kinds = [
        *(["two B-mode views: location, internal and margin maps of the nodule"] if schema.has_images else []),
        *(["the words of the ultrasound report"] if schema.has_report else []),
        *([f"{len(given)} fields"] if given else []),
    ]
    rows_ = tuple(
        (
            f.label,
            f.allowed().removeprefix("one of ").removeprefix("a number from "),
            "measured on the picture where not given" if f.role == "measured" else "given",
            f.help,
        )
        for f in given
    )
    return (
        Text(
            f"It reads {'; '.join(kinds)}. Numbers are centred and scaled, categories have a learned token for each value."
        ),
        *(
            (Table(("field", "allowed", "comes from", "definition"), rows_, "", (0.2, 0.26, 0.2, 0.34)),)
            if rows_
            else ()
        ),
    )


def _training(card: Mapping[str, Any]) -> tuple[Block, ...]:
    settings, network = _mapping(card.get("settings")), _mapping(card.get("network"))
    history = card.get("history")
    entries = len(history) if isinstance(history, list) else 0
    told = [
        ("Architecture", _architecture(network)),
        ("Parameters", _count(card.get("parameters"))),
        ("Warm start", str(card.get("warm_start") or "none: from random weights")),
        ("Optimiser", f"AdamW, learning rate {settings.get('learning_rate', '?')}, weight decay {settings.get('weight_decay', '?')}"
         if settings else "not on the card"),
        ("Batch, epochs", f"{settings.get('batch', '?')} cases, at most {settings.get('epochs', '?')} epochs, early stopping after "
         f"{settings.get('patience', '?')} without a better validation AUROC; {entries} entries in the history"),
        ("Calibration", f"one temperature, {card.get('temperature', float('nan')):.3f}, fitted on the validation cases"),
        ("Class imbalance", "rarer outcome weighed up in the loss, probabilities set right afterwards" if settings.get("balance")
         else "nothing was done: the loss counts every case once"),
        ("Seed", str(settings.get("seed", "not on the card"))),
        ("Time", _seconds(card.get("training_seconds"))),
    ]  # fmt: skip
    if allowed := _listed(card.get("allowed")):
        told.append(
            (
                "Fields let through",
                f"{', '.join(map(str, allowed))}: predict the outcome all but perfectly, allowed by hand",
            )
        )
    return (_pairs(told),)


def _architecture(network: Mapping[str, Any]) -> str:
    if not network:
        return "not on the card"
    words = f", {network['text_tokens']} report tokens" if network.get("text_tokens") else ", no report"
    bert = " of pretrained BERT features" if network.get("text_feature_width") else ""
    images = (
        f"{network['map_size']}-pixel maps in patches of {network['patch']}"
        if network.get("images", True)
        else "no pictures"
    )
    return (
        f"LLNM-Net after Shen et al. 2025: {network['width']} wide, {network['heads']} heads, {network['fusion_layers']} "
        f"bidirectional and {network['self_layers']} self-attention layers; {images}{words}{bert}"
    )


def _output(subject: Subject) -> tuple[Block, ...]:
    endpoint, limits = subject.schema.endpoint, subject.limits
    return (
        Bullets(
            (
                f"A calibrated probability of {endpoint.phrase} (0 to 100 %), with the observed rate among the validation cases "
                "that scored nearest and its 95 % Wilson interval.",
                f"A conformal set: the outcomes that cannot be ruled out at {100 * limits.level:g} %.",
                *(
                    ["Probabilities of the risk stages 1 to 3, given that there is LLNM."]
                    if subject.schema.has_stages
                    else []
                ),
                "No threshold is built in. Rates in this document are at a cut-off of 0.5 unless they say otherwise.",
            )
        ),
    )


def _missing_input(schema: Schema) -> tuple[Block, ...]:
    told = ["A field, view or report that is missing takes a learned “missing” token; nothing is imputed."]
    if schema.has_images:
        told += [
            "Outlines in which the network's copies disagree, and views on which no nodule or gland was found, are told beside the "
            "number and can be drawn by hand.",
            "Without pixel spacing, distances are in shares of gland depth.",
        ]
    told.append("Pictures and fields far from the training cases are told, with the distance and its threshold.")
    return (Bullets(tuple(told)),)


def _limits(subject: Subject) -> tuple[str, ...]:
    n = len(subject.validation)
    return (
        f"Intervals of a single prediction rest on {n:,} validation cases and hold for cases like them.",
        "Conformal coverage is an average over such cases and does not hold where a centre's patients or machines differ.",
    )


def _versions(card: Mapping[str, Any]) -> tuple[Block, ...]:
    told = [
        ("Made", str(card.get("date", "not recorded"))),
        ("Code", f"LLNM Explorer (Apache-2.0), commit {card.get('commit', 'unknown')}"),
        ("torch", str(card.get("torch", "not on the card"))),
        ("Device", str(card.get("device", "not on the card"))),
        ("Checkpoint format", str(card.get("format", "not on the card"))),
    ]
    told += [(f"SHA-256 {name}", digest) for name, digest in card.get("sha256", {}).items()]
    return (_pairs(told),)


# --- performance report ---------------------------------------------------------------------------------------------------


def _report_sections(subject: Subject, study: Study) -> list[Section]:
    sections = [
        Section("Performance report: objective", _objective(subject, study), ("1", "4")),
        Section("Participants", _participants(subject, study), ("20a", "20b", "6a")),
        Section("Outcome", _outcome(subject, study), ("8a",)),
        Section("Missing data", _missing_data(subject.schema, study), ("11", "20b")),
        Section("How performance was measured", _methods(), ("7", "12d", "12e", "12g", "14")),
        Section("Curves", _curves(study), ("12e", "23a")),
        Section("Discrimination", _discrimination(study), ("23a",)),
        Section("Calibration", _calibration(study), ("23a",)),
        Section("Net benefit", _benefit(study), ("23a",)),
    ]
    if study.performance.coverage is not None:
        sections.append(Section("Conformal sets", _coverage(subject, study), ("23a",)))
    sections += [
        Section("Subgroups and fairness", _subgroups(study), ("14", "23a", "23b")),
        Section("Development and evaluation data", _differences(subject, study), ("16",)),
        Section("Updating", (Text("The model was not updated or recalibrated on these cases."),), ("12f", "24")),
    ]
    return sections


def _objective(subject: Subject, study: Study) -> tuple[Block, ...]:
    blocks: list[Block] = []
    if study.trained_on:
        blocks.append(
            Text(
                "This cohort has the name and size of the one that trained the model: the figures are those of training cases, "
                "and better than on new ones. Name a held-out cohort.", notice=True,
            )
        )  # fmt: skip
    if study.provenance == "synthetic":
        blocks.append(Text("The cases are synthetic: no figure here says anything about a patient.", notice=True))
    elif subject.card.get("training_data") == "synthetic":
        blocks.append(Text("The model was trained on synthetic cases only, these are others.", notice=True))
    p = study.performance
    blocks.append(
        Text(
            f"Evaluation, without development, of {subject.identity} for {subject.schema.endpoint.phrase} on the cohort "
            f"“{study.name}” ({study.provenance} data): {len(p.scores):,} cases, {p.scores.positives:,} with the outcome. "
            "The report follows TRIPOD+AI (Collins et al., BMJ 2024;385:e078378); the last section says which items it answers "
            "and which a run cannot answer."
        )
    )
    return tuple(blocks)


def _participants(subject: Subject, study: Study) -> tuple[Block, ...]:
    p, short = study.performance, subject.schema.endpoint.short
    flow = [
        ("Cases in the cohort", f"{study.cases:,}"),
        ("Left out: outcome not known", f"{study.unlabelled:,}"),
        ("Evaluated", f"{len(p.scores):,}"),
        (f"with {short}", f"{p.scores.positives:,} ({_percent(p.observed)})"),
        (f"without {short}", f"{len(p.scores) - p.scores.positives:,}"),
    ]
    blocks: list[Block] = [Table(("flow of participants", "n"), tuple(flow), "", (0.6, 0.4))]
    frame = study.frame
    if "centre" in frame and frame["centre"].astype(str).str.strip().ne("").any():
        outcome = frame[subject.schema.endpoint.name].astype(bool)
        by = (
            pd.DataFrame({"centre": frame["centre"].astype(str), "y": outcome})
            .groupby("centre")["y"]
            .agg(["size", "sum"])
        )
        centres = tuple(
            (str(c) or "not given", f"{int(n):,}", f"{int(k):,} ({100 * k / n:.1f} %)") for c, n, k in by.itertuples()
        )
        blocks.append(Table(("centre", "cases", f"with {short}"), centres, "", (0.4, 0.3, 0.3)))
    blocks.append(_characteristics(subject.schema, frame))
    return tuple(blocks)


def _characteristics(schema: Schema, frame: pd.DataFrame) -> Block:
    short = schema.endpoint.short
    own = {f.name: f for f in schema.own}
    table = pd.DataFrame({name: frame[name] for name in schema.tokens if name in frame})
    for name, field in own.items():
        if name in table and field.kind == "flag":
            table[name] = table[name].map({True: "yes", False: "no"})
    table = table.rename(columns={name: field.label_with_unit for name, field in own.items()})
    by = "outcome of the case"
    table[by] = frame[schema.endpoint.name].astype(bool).map({True: f"with {short}", False: f"without {short}"})
    try:
        made = table_one(table, [str(c) for c in table if c != by], by=by)
    except StatisticsError as error:
        return Text(f"No table of characteristics: {error.what}.")
    names = [str(c) for c in made.columns]
    groups = [c for c in names if c.startswith(("with ", "without "))]
    smd = [c for c in names if c.startswith("SMD")]
    columns = ["variable", "level", "missing", "all", *groups, *smd[:1]]
    told = tuple(
        tuple("" if v in ("nan", "None") else v for v in row)
        for row in made[columns].astype(str).itertuples(index=False)
    )
    return Table(
        tuple("SMD" if c in smd else c for c in columns), told,
        "Characteristics by outcome, as the model read them (measured fields included); shares are of the known values. SMD: "
        "standardised mean difference.",
        (0.24, 0.15, 0.09, 0.15, 0.15, 0.15, 0.07) if len(columns) == 7 else None,
    )  # fmt: skip


def _outcome(subject: Subject, study: Study) -> tuple[Block, ...]:
    endpoint = subject.schema.endpoint
    words = f"{endpoint.label}: {endpoint.help}"
    if study.provenance == "synthetic":
        words += " Drawn by the simulation from each case's true risk."
    return (Text(words), Text("Known only after surgery and never given to the model."))


def _missing_data(schema: Schema, study: Study) -> tuple[Block, ...]:
    n = len(study.frame)
    told = []
    for name in (*(study.absent or ()), *(t for t in schema.tokens if t not in (study.absent or ()))):
        read = int(study.frame[name].isna().sum()) if name in study.frame else None
        given = None if study.absent is None else study.absent.get(name)
        if read is None and given is None:
            read = n if name in schema.tokens else None
        told.append((_label(schema, name), _share(given, n), _share(read, n)))
    return (
        Text(
            "No case is left out for a missing predictor: what is missing takes a learned “missing” token. Fields that pictures "
            "give are measured where nobody gave them."
        ),
        Table(
            ("predictor", "not given", "missing for the model, after measuring"), tuple(told), f"Of {n:,} evaluated cases.",
            (0.5, 0.22, 0.28),
        ),
    )  # fmt: skip


def _methods() -> tuple[Block, ...]:
    return (
        Bullets(
            (
                "Predictions: by the checkpoint named above, from the cohort's files, with the same code that serves a single "
                "case; pictures are outlined by the segmentation network, not by the masks of the cohort.",
                "Data: every value is checked against the schema's unit, range and allowed words on reading, in all cases alike.",
                "AUROC with DeLong's interval on the logit scale; shares with Wilson's; Brier score and calibration error (ECE, "
                "ten bins of equal width) with percentile bootstrap intervals (1,000 draws).",
                "Calibration: slope, and intercept with the slope held at 1, by logistic regression on the logit (Wald intervals); "
                "curve by a restricted cubic spline with a robust pointwise band.",
                "Net benefit over the threshold probability (Vickers and Elkin 2006) with a pointwise normal interval.",
                "Subgroups: AUROC where there are at least five cases of either outcome; heterogeneity by Cochran's Q and I²; "
                "gaps to the largest group (Newcombe, DeLong, Wald), not adjusted for testing several.",
                "Fairness: the same figures by centre, sex, age and the schema's categories; no group is treated otherwise.",
            )
        ),
    )


def _discrimination(study: Study) -> tuple[Block, ...]:
    p = study.performance
    evaluation, point = p.evaluation, p.point
    told = []
    if evaluation.auroc is not None:
        told.append(_estimate("AUROC", evaluation.auroc, len(p.scores)))
    told += [
        _rate(name, rate)
        for name, rate in (
            ("sensitivity at 0.5", point.sensitivity), ("specificity at 0.5", point.specificity),
            ("positive predictive value at 0.5", point.positive_predictive_value),
            ("negative predictive value at 0.5", point.negative_predictive_value), ("accuracy at 0.5", point.accuracy),
        )
    ]  # fmt: skip
    if evaluation.stage_auroc is not None:
        told.append(_estimate("AUROC of the stages (mean of three)", evaluation.stage_auroc, p.scores.positives))
    for name in ("bayes_auroc", "nodule_miou", "gland_miou"):
        value = getattr(evaluation, name)
        if value is not None:
            told.append((LABELS[name], f"{value:.3f}", "not computed"))
    return (Table(("figure", "value (counts)", "95 % interval"), tuple(told), "", (0.42, 0.3, 0.28)),)


def _curves(study: Study) -> tuple[Block, ...]:
    p = study.performance
    n, third = f"n = {len(p.scores):,}.", 1 / 3
    blocks = []
    if p.roc is not None and p.evaluation.auroc is not None:
        drawn = roc_plot(p.roc, p.evaluation.auroc, p.point, len(p.scores))
        blocks.append(Picture(drawn, f"ROC curve; red: cut-off 0.5 with its 95 % intervals. {n}", third))
    caption = (
        "Calibration. Points: tenths of the probability with 95 % intervals; line and band: smooth curve; grey: where the cases "
        + f"lie. {'' if p.curve is not None else 'Too few cases for the smooth curve. '}{n}"
    )
    blocks.append(Picture(calibration_plot(p.bins, p.curve, p.scores.probability), caption, third))
    blocks.append(Picture(benefit_plot(p.benefit), f"Decision curve with its 95 % band. {n}", third))
    return tuple(blocks)


def _calibration(study: Study) -> tuple[Block, ...]:
    p = study.performance
    told = [
        ("observed share", f"{_percent(p.observed)} ({p.observed.numerator:,} of {p.observed.denominator:,})",
         f"{100 * p.observed.low:.1f}–{100 * p.observed.high:.1f} %"),
        ("mean predicted probability", f"{100 * p.expected:.1f} % (n = {len(p.scores):,})", ""),
    ]  # fmt: skip
    if p.line is not None:
        told += [
            _estimate("calibration slope (1 is perfect)", p.line.slope, len(p.scores)),
            _estimate("calibration in the large (0 is perfect)", p.line.intercept, len(p.scores)),
        ]
    told += [
        _estimate("calibration error (ECE)", p.evaluation.ece, len(p.scores)),
        _estimate("Brier score", p.evaluation.brier, len(p.scores)),
    ]
    bins = tuple(
        (f"{100 * b.predicted:.1f} %", f"{_percent(b.observed)} ({b.observed.numerator:,} of {b.observed.denominator:,})",
         f"{100 * b.observed.low:.1f}–{100 * b.observed.high:.1f} %")
        for b in p.bins
    )  # fmt: skip
    return (
        Table(("figure", "value (counts)", "95 % interval"), tuple(told), "", (0.42, 0.3, 0.28)),
        Table(
            ("mean predicted", "observed (counts)", "95 % interval"),
            bins,
            "Tenths of the probability.",
            (0.3, 0.4, 0.3),
        ),
    )


def _benefit(study: Study) -> tuple[Block, ...]:
    t = study.performance.table
    shown = [k for k, threshold in enumerate(t.threshold) if any(math.isclose(threshold, s) for s in _SHOWN_THRESHOLDS)]
    told = tuple(
        (f"{100 * t.threshold[k]:.0f} %", f"{t.model[k]:.3f} ({t.low[k]:.3f} to {t.high[k]:.3f})", f"{t.treat_all[k]:.3f}",
         f"{t.called[k]:,} of {t.cases:,}", f"{t.hits[k]:,} of {t.positives:,}")
        for k in shown
    )  # fmt: skip
    return (
        Table(
            ("threshold", "net benefit of the model (95 %)", "treat all", "called positive", "of them with the outcome"), told,
            "Net benefit per case; treating nobody has 0.", (0.12, 0.34, 0.14, 0.2, 0.2),
        ),
    )  # fmt: skip


def _coverage(subject: Subject, study: Study) -> tuple[Block, ...]:
    c = study.performance.coverage
    assert c is not None
    short = subject.schema.endpoint.short
    told = tuple(
        _rate(name, rate)
        for name, rate in (
            ("sets that hold the outcome, all cases", c.all), (f"among those with {short}", c.llnm),
            (f"among those without {short}", c.no_llnm), ("sets that hold both (undecided)", c.undecided), ("empty sets", c.empty),
        )
    )  # fmt: skip
    level = f"{100 * subject.limits.level:g} %"
    caption = f"Stated: at least {level} for cases like the validation cases."
    return (Table(("figure", "value (counts)", "95 % interval"), told, caption, (0.42, 0.3, 0.28)),)


def _subgroups(study: Study) -> tuple[Block, ...]:
    divisions = study.performance.divisions
    if not divisions:
        return (Text("The cases carry no field that divides them into at least two groups."),)
    return tuple(block for d in divisions for block in _division(d))


def _division(division: Division) -> tuple[Block, ...]:
    told = []
    for group in division.groups:
        area, observed = group.of.auroc, group.observed
        told.append(
            (
                group.of.name, f"{group.of.cases:,} ({group.of.positives:,})",
                too_few(group.of) if area is None else _area(area),
                _counted(group.sensitivity), _counted(group.specificity),
                f"{_percent(observed)} ({100 * observed.low:.1f}–{100 * observed.high:.1f}) / {100 * group.predicted:.1f} %",
            )
        )  # fmt: skip
    spread = division.spread
    caption = f"By {division.name}."
    if division.unknown:
        caption += f" Not known in {division.unknown:,} cases, which stand in no group."
    if spread is not None:
        caption += (
            f" Heterogeneity of the AUROC: Q {spread.q:.2f} on {spread.degrees} degrees of freedom, p {_p(spread.p)}, I² "
            f"{100 * spread.i_squared:.0f} %; pooled {spread.pooled.value:.3f} ({spread.pooled.low:.3f}–{spread.pooled.high:.3f})."
        )
    areas = {group.of.name: group.of.auroc for group in division.groups}
    flat = {name for name, area in areas.items() if area is not None and area.low == area.high}
    gaps = [
        f"{g.group}: AUROC {_NO_SPREAD if flat & {g.group, division.reference} else _signed(g.auroc)}, "
        f"sensitivity {_signed(g.sensitivity)}, specificity {_signed(g.specificity)}, "
        f"calibration in the large {_signed(g.calibration)}"
        for g in division.gaps
        if any(v is not None for v in (g.auroc, g.sensitivity, g.specificity, g.calibration))
    ]
    header = (
        division.name, "cases (with outcome)", "AUROC (95 %)", "sensitivity at 0.5 (95 %)", "specificity at 0.5 (95 %)",
        "observed (95 %) / predicted",
    )  # fmt: skip
    table = Table(header, tuple(told), caption, (0.13, 0.13, 0.17, 0.2, 0.2, 0.17))
    if not gaps:
        return (table,)
    return table, Text(f"Gaps to {division.reference}, the largest group (95 %):"), Bullets(tuple(gaps))


def _differences(subject: Subject, study: Study) -> tuple[Block, ...]:
    card = subject.card
    cohort = _mapping(card.get("cohort"))
    validation = subject.validation
    here = study.performance
    centres = sorted({str(c) for c in study.frame["centre"] if str(c).strip()}) if "centre" in study.frame else []
    told = (
        ("cohort", str(cohort.get("name", "not on the card")), study.name),
        ("kind of data", str(card.get("training_data", "not on the card")), study.provenance),
        ("centres", ", ".join(map(str, _listed(cohort.get("centres")))) or "not given", ", ".join(centres) or "not given"),
        (
            "cases", f"{_count(card.get('training_cases'))} training, {len(validation):,} validation", f"{len(here.scores):,}",
        ),
        (
            "with the outcome", f"{validation.positives:,} of {len(validation):,} validation cases "
            f"({100 * validation.positives / len(validation):.1f} %)",
            f"{here.scores.positives:,} of {len(here.scores):,} ({_percent(here.observed)})",
        ),
    )  # fmt: skip
    return (
        Table(
            ("", "development", "evaluation"),
            told,
            "Outcome and predictors have the same definitions in both.",
            (0.2, 0.4, 0.4),
        ),
    )


def _checklist(sections: list[Section], study: Study) -> Section:
    answered: dict[str, str] = {}
    for section in sections:
        for item in section.items:
            answered[item] = f"{answered[item]}; {section.title}" if item in answered else section.title
    missing = () if any(d.name == "centre" for d in study.performance.divisions) else ("23b",)
    return Section(
        "Items of TRIPOD+AI",
        (Table(("item", "asks for", "where it is answered"), rows(answered, missing), "", (0.08, 0.4, 0.52)),),
    )


# --- words ----------------------------------------------------------------------------------------------------------------


def _pairs(lines: list[tuple[str, str]]) -> Table:
    return Table(("", ""), tuple(lines), "", (0.28, 0.72))


def _label(schema: Schema, name: str) -> str:
    field: Field | None = schema.by_name.get(name)
    if name.startswith("image_"):
        return f"picture, {name.removeprefix('image_')} view"
    return name if field is None else field.label_with_unit


def _mapping(value: object) -> Mapping[str, Any]:
    """A part of a card, which others may have written; empty where it is none."""
    return value if isinstance(value, dict) else {}


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "not on the card"


def _seconds(value: object) -> str:
    if not isinstance(value, dict) or not all(isinstance(v, int | float) for v in value.values()):
        return "not on the card"
    return f"{sum(value.values()) / 60:.1f} min ({', '.join(f'{k} {v:.0f} s' for k, v in value.items())})"


def _range(value: object) -> str:
    return f"{value[0]:.3f}–{value[1]:.3f}" if isinstance(value, list) else "not computed"


def _percent(rate: Rate) -> str:
    return "none" if math.isnan(rate.value) else f"{100 * rate.value:.1f} %"


def _rate(name: str, rate: Rate) -> tuple[str, str, str]:
    if math.isnan(rate.value):
        return name, "no case", ""
    return name, f"{rate.value:.3f} ({rate.numerator:,} of {rate.denominator:,})", f"{rate.low:.3f}–{rate.high:.3f}"


def _counted(rate: Rate) -> str:
    if math.isnan(rate.value):
        return "no case"
    return f"{rate.value:.3f} ({rate.low:.3f}–{rate.high:.3f}), {rate.numerator:,}/{rate.denominator:,}"


def _estimate(name: str, value: Estimate, n: int) -> tuple[str, str, str]:
    return name, f"{value.value:.3f} (n = {n:,})", f"{value.low:.3f} to {value.high:.3f}"


def _area(value: Estimate) -> str:
    """An AUROC of a subgroup; where no case of one outcome scored among the other's, DeLong's variance is 0, which says nothing."""
    return f"{value.value:.3f} ({_NO_SPREAD if value.low == value.high else f'{value.low:.3f}–{value.high:.3f}'})"


def _signed(value: Estimate | None) -> str:
    return "not computed (too few)" if value is None else f"{value.value:+.3f} ({value.low:+.3f} to {value.high:+.3f})"


def _share(count: int | None, n: int) -> str:
    return "not known" if count is None else f"{count:,} ({100 * count / n:.1f} %)"


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"= {value:.3f}"
