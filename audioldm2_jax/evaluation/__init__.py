"""Evaluation: metrics (one file each), and the backbones whose features they compare."""
