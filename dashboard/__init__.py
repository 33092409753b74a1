"""The dashboard: pages over the model. It imports `model`; `model` never imports it."""

import os

# Threads of torch that wait sleep instead of spinning, which must be said before torch is loaded. Small predictions hardly
# notice; where a browser or another program wants the same cores, spinning made one take 0.1 to 1 s instead of 10 ms.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
