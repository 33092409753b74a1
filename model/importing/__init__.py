"""A hospital's export → a cohort folder that holds nothing identifying: `llnm import` and the Import page.

`manifest` reads the table, `profile` and `propose` guess what its columns mean, `mapping` is what a person agreed to,
`survey` checks the whole table against it before a pixel is read, `rows` and `pictures` make one case, `stage` keeps
what is done until the whole can appear at once, and `run` does it all, on any number of cores, in flat memory.
`quality` looks at what came of it.

Nothing identifying is written, logs and messages included: messages name rows and columns, never what a cell holds.
"""

COHORTS = "LLNM_COHORTS"
"""Environment variable that names the folder in which the Import page writes cohorts; `llnm serve --cohorts` sets it."""
