"""Statistics of many cases: discrimination, calibration, risk curves, lobe position. No torch, no screen."""
