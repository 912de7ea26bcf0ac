"""Corpora of one's own: folders and tables of captions, and exports of Hugging Face's datasets."""
