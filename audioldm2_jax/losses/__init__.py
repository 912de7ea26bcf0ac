"""Losses as pure functions of what networks put out."""
