"""What each metric needs, and which metrics a name such as `all` stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.results import METRICS


@dataclass(frozen=True)
class Kind:
    """What a metric is computed from.

    backbone: whether a network of the protocol serves it (`protocol.METRIC_SLOTS`). judge: of
    `judges.JUDGES`. paired: takes a reference clip for each generated one. logits, captions,
    transcripts: what the network or the clips must have. least: clips of either set, at least.
    """

    backbone: bool = False
    judge: str = ""
    paired: bool = False
    logits: bool = False
    captions: bool = False
    transcripts: bool = False
    least: int = 1


KINDS = {
    "FD": Kind(backbone=True, least=2),
    "FAD": Kind(backbone=True, least=2),
    "FAD_inf": Kind(backbone=True, least=8),
    "KAD": Kind(backbone=True, least=2),
    "KL": Kind(backbone=True, paired=True, logits=True),
    "KL_sigmoid": Kind(backbone=True, paired=True, logits=True),
    "IS": Kind(backbone=True, logits=True, least=2),
    "KID": Kind(backbone=True, least=2),
    "CLAP": Kind(backbone=True, captions=True),
    "R@1": Kind(backbone=True, captions=True, least=2),
    "R@5": Kind(backbone=True, captions=True, least=6),
    "R@10": Kind(backbone=True, captions=True, least=11),
    "mAP@10": Kind(backbone=True, captions=True, least=2),
    "PSNR": Kind(paired=True),
    "SSIM": Kind(paired=True),
    "LSD": Kind(paired=True),
    "WER": Kind(judge="words", transcripts=True),
    "CER": Kind(judge="words", transcripts=True),
    "DNSMOS_SIG": Kind(judge="dnsmos"),
    "DNSMOS_BAK": Kind(judge="dnsmos"),
    "DNSMOS_OVRL": Kind(judge="dnsmos"),
    "speaker_similarity": Kind(judge="voices", paired=True),
    "note_F1": Kind(judge="notes", paired=True),
    "pitch_accuracy": Kind(judge="pitch", paired=True),
    "silent_share": Kind(),
}
assert set(KINDS) == set(METRICS)

_SPEECH = ("WER", "CER", "DNSMOS_SIG", "DNSMOS_BAK", "DNSMOS_OVRL", "speaker_similarity")
_MUSIC = ("note_F1", "pitch_accuracy")
# Names that stand for several metrics, of which those that cannot be computed are left out.
GROUPS = {
    "all": tuple(METRICS),
    "sound": tuple(m for m in METRICS if m not in (*_SPEECH, *_MUSIC)),
    "speech": _SPEECH,
    "music": _MUSIC,
}


@dataclass(frozen=True)
class MetricSelection:
    """Metric keys in the order of tables; those asked for by their own name, and by group."""

    keys: tuple[str, ...]
    by_name: frozenset[str]
    groups: frozenset[str]

    def unfit(self, key: str, *, speech: bool) -> str:
        """Why a metric of the group `all` makes no sense of these clips; "" if it may.

        speech: whether the clips have transcripts.
        """
        if key in self.by_name:
            return ""
        if key in _SPEECH and not speech and "speech" not in self.groups:
            return "judges speech, and the clips have no transcripts; ask for it by name"
        if key in _MUSIC and "music" not in self.groups:
            return "judges music; ask for it by name"
        return ""


def too_few(count: int, least: int, what: str = "clip") -> str:
    """Why `count` clips of a set do not make a metric. what: the word for one of them."""
    return f"{count} {what}{'s' * (count != 1)} in a set; it takes at least {least}"


def select_metrics(metrics: str | Sequence[str]) -> MetricSelection:
    """Metric keys and groups, as a text with commas or a list; capitals do not matter.

    Raises InputError for another name, with the nearest one.
    """
    names = metrics.split(",") if isinstance(metrics, str) else metrics
    names = [name.strip() for name in names if name.strip()]
    if not names:
        raise InputError("metrics: name at least one, or all")
    known = {name.casefold(): name for name in (*METRICS, *GROUPS)}
    by_name, groups = set(), set()
    for name in names:
        key = known.get(name.casefold())
        if key is None:
            near = get_close_matches(name.casefold(), known, 1)
            advice = f"did you mean {known[near[0]]}?" if near else f"choose of {' '.join(METRICS)}"
            raise InputError(f"no metric {name!r}; {advice}")
        (groups if key in GROUPS else by_name).add(key)
    keys = by_name.union(*(GROUPS[group] for group in groups))
    order = tuple(key for key in METRICS if key in keys)
    return MetricSelection(order, frozenset(by_name), frozenset(groups))
