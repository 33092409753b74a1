"""Explanations: pure functions from (predictor, measured case) to a typed result; one file a method.

Nothing is hooked onto the model and nothing is kept on it, so many sessions can explain at once.
"""
