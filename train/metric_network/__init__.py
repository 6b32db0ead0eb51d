"""Stage 1 of the paper: the metric network F (python -m train.metric_network)."""
