"""The dashboard: pages over the model. It imports `model`; `model` never imports it."""
