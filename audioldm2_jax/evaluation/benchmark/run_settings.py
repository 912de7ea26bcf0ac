"""What else decides a table's figures, and how it is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RunSettings:
    """protocol: in place of the table's, "" for its own. limit: clips of each row. weights: of
    networks, as of `plan.plan_evaluation`. bootstrap: resamples of intervals. batch: clips at once.
    dtype: of models. follow_links: reads links in folders of clips. progress: bars on stderr.
    """

    protocol: str = ""
    limit: int | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    bootstrap: int = 200
    batch: int = 4
    dtype: str | None = None
    follow_links: bool = False
    progress: bool = True
