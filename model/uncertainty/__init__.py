"""How far a prediction can be relied on: sets with stated coverage, distance from the training cases, missing fields."""
