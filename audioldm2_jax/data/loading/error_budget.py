"""Clips that fail while they are read: skipped and logged up to a share of the corpus."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from audioldm2_jax.errors import InputError

log = logging.getLogger("audioldm2_jax.data")


@dataclass(frozen=True)
class FailedClip:
    """A clip that cannot be used, in place of its example. name: its id; reason: why."""

    name: str
    reason: str


class ErrorBudget:
    """A filter that drops failed clips, and stops the run when too many clips have failed.

    share: of the corpus' `clips` that may fail. seen: clips so far, including failed ones. failed:
    reason by name. The filter runs where batches are made, so it counts over all workers. Calling
    it raises InputError when more than `share` of the clips have failed.
    """

    def __init__(self, share: float, clips: int):
        self.share, self.clips = share, clips
        self.failed: dict[str, str] = {}
        self.seen = 0

    def __call__(self, element) -> bool:
        self.seen += 1
        if not isinstance(element, FailedClip):
            return True
        if element.name not in self.failed:
            self.failed[element.name] = element.reason
            log.warning("skipped %s: %s", element.name, element.reason)
        if len(self.failed) > self.share * self.clips:
            names = ", ".join(f"{n} ({why})" for n, why in list(self.failed.items())[:5])
            raise InputError(
                f"{len(self.failed)} of {self.clips} clips cannot be used, more than the tolerated "
                f"{self.share:.2%}: {names}{', ...' if len(self.failed) > 5 else ''}; prepare the "
                "corpus anew, or raise `tolerance`"
            )
        return False
