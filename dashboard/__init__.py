"""The dashboard: pages over the model. It imports `model`; `model` never imports it."""

import os

# Threads of torch that wait go to sleep soon, which must be said before torch is loaded. Where a browser or another program wants
# the same cores, spinning for long made a prediction take 0.1 to 1 s instead of 10 ms; not spinning at all makes everything half
# as fast again on a quiet machine, a thousand turns 4 %.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
