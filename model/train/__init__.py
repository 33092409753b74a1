"""Training: data, loop, segmentation, checkpoints."""
