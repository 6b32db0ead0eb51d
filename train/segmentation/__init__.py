"""Stage 2 of the paper: the segmentation network (python -m train.segmentation)."""
