"""Metrics of generated clips, one file each; on the host in float64."""
