"""Sampling of token streams: their layouts, draws and loops."""
