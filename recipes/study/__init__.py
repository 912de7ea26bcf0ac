"""The benchmark study (arXiv 2303.03857) at the scale of two cores; docs/study.md."""
