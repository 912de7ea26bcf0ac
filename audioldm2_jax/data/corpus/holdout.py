"""Moves clips of the split train to validation. A clip's name decides, not its position."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

from audioldm2_jax.data.ingest.clip_record import ClipRecord
from audioldm2_jax.errors import InputError


def parse_holdout(text: str) -> float:
    """Parses --validation: a number of clips, a share below 1, or 0. Raises InputError."""
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
    """Moves `amount` of train's clips to validation: a number of clips, or a share below 1.

    A share selects the same clips in a larger version of the corpus. At least one clip stays in
    each split. Raises InputError if there is nothing to divide.
    """
    if "validation" in splits or "train" not in splits:
        raise InputError(f"--validation: the splits are {' '.join(splits)}, nothing to divide")
    train = splits["train"]
    if len(train) <= max(1, amount):
        raise InputError(
            f"--validation is {amount:g}: train has {len(train)} clips, and some must stay in it"
        )
    order = sorted(train, key=lambda clip: (_hash(clip), clip.id))
    count = int(amount) if amount >= 1 else sum(_hash(clip) < amount for clip in order)
    names = {clip.id for clip in order[: min(max(count, 1), len(order) - 1)]}
    return {
        **splits,
        "train": [clip for clip in train if clip.id not in names],
        "validation": [clip for clip in train if clip.id in names],
    }


def _hash(clip: ClipRecord) -> float:
    """A number in [0, 1) that depends on the clip's name only."""
    digest = hashlib.sha256(clip.id.encode("utf-8", "surrogatepass")).hexdigest()
    return int(digest[:8], 16) / 2**32
