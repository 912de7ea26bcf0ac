"""Benchmark tables at work: their files, clips, rows, results and reports."""
