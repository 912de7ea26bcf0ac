"""Bad input: each kind has a rule, a count, and the names of the first clips."""

from __future__ import annotations

from dataclasses import dataclass

from audioldm2_jax.data.ingest import audio_files
from audioldm2_jax.errors import printable

EXAMPLES = 20  # names that are kept of a kind


@dataclass(frozen=True)
class Kind:
    """A kind of bad input. left_out: whether its clips are. rule: what is done, as reports say."""

    left_out: bool
    rule: str


KINDS = {
    "unreadable": Kind(True, "damaged or not decodable"),
    "not_audio": Kind(True, "not audio"),
    "not_finite": Kind(True, "with NaN or infinity"),
    "too_short": Kind(True, "shorter than 0.01 s"),
    "missing": Kind(True, "in the list, but not among the files"),
    "hidden": Kind(True, "of a hidden name"),
    "link": Kind(True, "a link"),
    "silent": Kind(False, "silent: they count in each figure"),
    "duplicate": Kind(False, "the same bytes as another clip"),
    "other_rate": Kind(False, "resampled to the network's rate"),
    "padded": Kind(False, "shorter than the protocol's least length: zeros are appended"),
    "clipped": Kind(False, "clipped: more than 0.1 % of the samples at full scale"),
    "no_caption": Kind(False, "without a caption, while others have one"),
    "unmatched": Kind(False, "without a partner in the other set: not in paired figures"),
}


class Problems:
    """Counts of bad input by kind, with up to EXAMPLES names each, a reason beside some."""

    def __init__(self):
        self.counts: dict[str, int] = dict.fromkeys(KINDS, 0)
        self.examples: dict[str, list[tuple[str, str]]] = {kind: [] for kind in KINDS}

    def add(self, kind: str, name: str, reason: str = "") -> None:
        """Counts one clip or file. kind: of KINDS."""
        self.counts[kind] += 1
        if len(self.examples[kind]) < EXAMPLES:
            self.examples[kind].append((name, reason))

    def clear(self, kind: str) -> None:
        """Forgets a kind, before it is counted anew."""
        self.counts[kind], self.examples[kind] = 0, []

    def as_dict(self) -> dict[str, dict]:
        """{kind: {"count", "left_out", "rule", "names", "reasons"}} of the kinds that occur."""
        return {
            kind: {
                "count": count,
                "left_out": KINDS[kind].left_out,
                "rule": KINDS[kind].rule,
                "names": [name for name, _ in self.examples[kind]],
                "reasons": sorted({reason for _, reason in self.examples[kind] if reason}),
            }
            for kind, count in self.counts.items()
            if count
        }

    def lines(self, names: int = 3) -> list[str]:
        """One line for each kind that occurs, with the first names and reasons."""
        lines = []
        for kind, entry in self.as_dict().items():
            shown = [f"{n} ({r})" if r else n for n, r in self.examples[kind][:names]]
            more = ", ..." if entry["count"] > len(shown) else ""
            verb = "left out" if entry["left_out"] else "kept"
            lines.append(f"{verb} {entry['count']}, {entry['rule']}: {', '.join(shown)}{more}")
        return [printable(line) for line in lines]


def kind_of(reason: str) -> str:
    """The kind of a clip that raised Unreadable with this reason."""
    if reason == audio_files.NOT_FINITE:
        return "not_finite"
    if reason in (audio_files.NOT_AUDIO, "empty file"):
        return "not_audio"
    if reason.startswith((f"shorter than {audio_files.MIN_SECONDS} s", "no samples")):
        return "too_short"
    return "missing" if reason == "missing" else "unreadable"
