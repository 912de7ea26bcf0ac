"""Clips of train that are amount back for validation, names by their names alone."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

from audioldm2_jax.data.ingest.clip_record import ClipRecord
from audioldm2_jax.errors import InputError


def parse_holdout(text: str) -> float:
    """A count from 1 on, or a share below 1; 0 for none. Raises InputError."""
    try:
        amount = float(text)
    except ValueError:
        amount = -1.0
    if not 0 <= amount < math.inf or (amount >= 1 and amount != int(amount)):
        raise InputError(
            f"--validation is {text}: a number of clips (10), or a share below 1 (0.05)"
        )
    return amount


def hold_out(splits: Mapping[str, list[ClipRecord]], amount: float) -> dict[str, list[ClipRecord]]:
    """train with `amount` of its clips in validation: a count, or, below 1, a share of them.

    A larger version of the corpus holds back the same clips of a share. At least one clip stays in
    each. Raises InputError if there is nothing to divide.
    """
    if "validation" in splits or "train" not in splits:
        raise InputError(f"--validation: the splits are {' '.join(splits)}, nothing to divide")
    train = splits["train"]
    if len(train) <= max(1, amount):
        raise InputError(
            f"--validation is {amount:g}: train has {len(train)} clips, and some must stay in it"
        )
    order = sorted(train, key=lambda entry: (_draw(entry), entry.id))
    count = int(amount) if amount >= 1 else sum(_draw(entry) < amount for entry in order)
    names = {entry.id for entry in order[: min(max(count, 1), len(order) - 1)]}
    return {
        **splits,
        "train": [entry for entry in train if entry.id not in names],
        "validation": [entry for entry in train if entry.id in names],
    }


def _draw(entry: ClipRecord) -> float:
    """From 0 to below 1, by the clip's name."""
    digest = hashlib.sha256(entry.id.encode("utf-8", "surrogatepass")).hexdigest()
    return int(digest[:8], 16) / 2**32
