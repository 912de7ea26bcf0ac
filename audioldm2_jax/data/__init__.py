"""Data that training and evaluation read: files to corpora, corpora to batches."""
