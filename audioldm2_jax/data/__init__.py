"""Data that training and evaluation read."""
