"""Networks whose features and logits the metrics compare."""
