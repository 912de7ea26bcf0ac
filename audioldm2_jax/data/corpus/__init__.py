"""Prepared corpora: writing, reading, and computing the encoders' outputs in advance."""
