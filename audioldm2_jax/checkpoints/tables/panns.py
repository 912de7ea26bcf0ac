"""PANNs' Cnn14 (`Cnn14_16k`), as its authors published it."""

from __future__ import annotations

from audioldm2_jax.checkpoints.convert import BATCH_NORM, CONV2D, LINEAR, Kind, Rule, Table
from audioldm2_jax.presets import PANNsConfig

# Convolutions here are bare kernels.
_KERNEL: Kind = {"weight": ("", CONV2D["weight"][1])}


def panns_table(config: PANNsConfig) -> Table:
    """Names for as many blocks as the configuration has."""
    rules = [Rule("bn0", "norm_mel", BATCH_NORM)]
    for i in range(len(config.channels)):
        for j in range(2):
            there = f"conv_block{i + 1}"
            rules.append(Rule(f"{there}.conv{j + 1}", f"blocks_{i}_conv_{j}", _KERNEL))
            rules.append(Rule(f"{there}.bn{j + 1}", f"blocks_{i}_norm_{j}", BATCH_NORM))
    rules += [Rule("fc1", "embed", LINEAR), Rule("fc_audioset", "classes", LINEAR)]
    # The front end's constants, which are computed here, and counters.
    ignored = (r"spectrogram_extractor\..*", r"logmel_extractor\..*", r".*num_batches_tracked")
    return Table(tuple(rules), ignored=ignored)
