"""Prepared corpora to batches: crops, transforms, shuffling, host shards."""
