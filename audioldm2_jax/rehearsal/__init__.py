"""Programs compiled for chips that this machine lacks, and what they need there."""
