"""Metrics of generated sound."""
