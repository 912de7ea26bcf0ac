"""Benchmark tables, one file each: rows, corpora, protocol, published figures (docs/tables.md)."""
