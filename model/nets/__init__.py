"""The networks: LLNM-Net and its parts, the report tokenizer, and the segmentation of nodule and gland."""
