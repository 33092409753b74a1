"""Statistics of many cases: discrimination, calibration, risk curves, lobe position. No torch, no screen."""

SERVED = "LLNM_SCORED"
"""Environment variable that names a scored table, which the Cohort page then offers: `llnm serve --scored FILE`."""
