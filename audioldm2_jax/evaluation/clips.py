"""Sets of clips: opened lazily, read by a protocol's rules, with every bad clip counted."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from audioldm2_jax import files
from audioldm2_jax.data.corpus import reader
from audioldm2_jax.data.ingest import folder
from audioldm2_jax.data.ingest.file_ref import Unreadable
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation import clip_sources, loading, pairing
from audioldm2_jax.evaluation.clip_sources import Captions, Clip
from audioldm2_jax.evaluation.pairing import Pairs
from audioldm2_jax.evaluation.problems import Problems, kind_of
from audioldm2_jax.evaluation.rules import EvalProtocol, LoaderRules

__all__ = ["Clip", "ClipSet", "Pairs", "Problems", "open_clips", "pair"]

_UNKNOWN, _AUDIBLE, _SILENT, _UNUSABLE = range(4)  # what is known of a clip


class ClipSet:
    """A set of clips, sorted by name.

    clips: all that were listed; some may prove unusable when their bytes are read. name: for
    reports. problems: counts of bad input, complete after `inspect_all`. rates: clips by sample
    rate in Hz. Reading is safe in several threads.
    """

    def __init__(
        self, name: str, clips: Sequence[Clip], problems: Problems, protocol: EvalProtocol
    ):
        self.name, self.problems, self.rates = name, problems, Counter()
        self.clips = tuple(sorted(clips, key=lambda clip: clip.name))
        self._position = {clip.name: i for i, clip in enumerate(self.clips)}
        if len(self._position) < len(self.clips):
            twice = Counter(clip.name for clip in self.clips).most_common(1)[0][0]
            raise InputError(f"{name}: several clips have the name {twice!r}; rename them")
        self._rules, self._rate = _first_loader(protocol)
        self._state = np.zeros(len(self.clips), np.uint8)
        self._digests: dict[int, bytes] = {}
        self._reasons: dict[int, str] = {}
        self._first: dict[bytes, int] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.clips)

    def read(self, clip: Clip, rules: LoaderRules, sample_rate: int) -> np.ndarray:
        """A clip's samples by a protocol's rules at `sample_rate` (Hz): float32 [samples].

        Raises Unreadable for a clip that cannot be used; `problems` then counts it.
        """
        data = self._inspect(clip)
        name = Path(clip.name).name
        try:
            data = clip.source.read() if data is None else data
            return loading.load_clip(data, rules, sample_rate, name)
        except Unreadable as error:
            self._exclude(self._position[clip.name], str(error))
            raise

    def content_hash(self, clip: Clip) -> str:
        """SHA-256 of the encoded bytes, in hex. Raises Unreadable for an unusable clip."""
        self._inspect(clip)
        return self._digests[self._position[clip.name]].hex()

    def digest(self) -> str:
        """SHA-256 of the encoded bytes of all usable clips, in hex; names and order do not count.

        Of clips that were read: `inspect_all` first.
        """
        digests = sorted(self._digests[int(i)] for i in self.usable if int(i) in self._digests)
        return hashlib.sha256(b"".join(digests)).hexdigest()

    def inspect_all(self, progress: Callable[[int], object] | None = None) -> None:
        """Decodes every clip that was not read yet, so that all counts are complete.

        progress: called with 1 for each clip.
        """
        for position, clip in enumerate(self.clips):
            if self._state[position] == _UNKNOWN:
                with suppress(Unreadable):  # `problems` counts it
                    self._inspect(clip)
            if progress:
                progress(1)

    @property
    def usable(self) -> np.ndarray:
        """Positions of the clips that are not known to be unusable: int [N]."""
        return np.flatnonzero(self._state != _UNUSABLE)

    def reason(self, position: int) -> str:
        """Why the clip at a position cannot be used; "" if nothing such is known."""
        return self._reasons.get(position, "")

    @property
    def silent(self) -> np.ndarray:
        """Positions of the silent clips: int [N]."""
        return np.flatnonzero(self._state == _SILENT)

    @property
    def silent_share(self) -> float:
        """The share of usable clips that are silent, of those read so far; 0 for none."""
        audible, silent = (int(np.sum(self._state == s)) for s in (_AUDIBLE, _SILENT))
        return silent / max(1, audible + silent)

    def warnings(self) -> list[str]:
        """Lines to be read with every figure of this set; [] where there is nothing to warn of."""
        counts, total = self.problems.counts, len(self.usable)
        lines = []
        if silent := len(self.silent):
            names = ", ".join(self.clips[i].name for i in self.silent[:3])
            lines.append(
                f"{self.name}: {silent} of {total} clips ({self.silent_share:.1%}) are silent "
                f"({names}{', ...' if silent > 3 else ''}); they count in every figure, and FD, "
                "FAD and KL can look good on silence"
            )
        if left_out := len(self.clips) - total + counts["missing"]:
            clips = "clip is" if left_out == 1 else "clips are"
            lines.append(f"{self.name}: {left_out} {clips} left out, {total} are read")
        if counts["duplicate"]:
            lines.append(
                f"{self.name}: {counts['duplicate']} of {total} clips repeat others byte for byte, "
                "which changes FD, FAD and IS"
            )
        if counts["clipped"]:
            lines.append(f"{self.name}: {counts['clipped']} of {total} clips are clipped")
        if len(self.rates) > 1:
            rates = ", ".join(f"{n} at {rate}" for rate, n in sorted(self.rates.items()))
            lines.append(f"{self.name}: clips have different rates ({rates} Hz); all are resampled")
        return lines

    def _inspect(self, clip: Clip) -> bytes | None:
        """Decodes a clip once, for all counts; the bytes, where it had to read them.

        Raises Unreadable for an unusable clip.
        """
        position = self._position[clip.name]
        if self._state[position] == _UNUSABLE:
            raise Unreadable(self._reasons[position])
        if self._state[position] != _UNKNOWN:
            return None
        try:
            data = clip.source.read()
            facts = loading.read_facts(data, self._rules, self._rate, Path(clip.name).name)
        except Unreadable as error:
            self._exclude(position, str(error))
            raise
        digest = hashlib.sha256(data).digest()
        with self._lock:
            if self._state[position] == _UNKNOWN:
                self._record(position, facts, digest)
        return data

    def _record(self, position: int, facts: loading.ClipFacts, digest: bytes) -> None:
        """Counts what a clip holds, once."""
        name, add = self.clips[position].name, self.problems.add
        self._state[position] = _AUDIBLE
        self._digests[position] = digest
        self.rates[facts.sample_rate] += 1
        first = self._first.setdefault(digest, position)
        if first != position:
            add("duplicate", name, f"as {self.clips[first].name}")
        if facts.silent:
            self._state[position] = _SILENT
            add("silent", name)
        if facts.clipped:
            add("clipped", name)
        if facts.sample_rate != self._rate:
            add("other_rate", name, f"{facts.sample_rate} Hz")
        if facts.seconds < self._rules.min_seconds:
            add("padded", name, f"{facts.seconds:.2f} s")

    def _exclude(self, position: int, reason: str) -> None:
        with self._lock:
            if self._state[position] != _UNUSABLE:
                self._state[position] = _UNUSABLE
                self._reasons[position] = reason
                self.problems.add(kind_of(reason), self.clips[position].name, reason)


def _first_loader(protocol: EvalProtocol) -> tuple[LoaderRules, int]:
    """The rules and the rate (Hz) of a protocol's first network, which counts are about."""
    _, spec = protocol.slots[0]
    return spec.loader, spec.sample_rate


def open_clips(
    source,
    protocol: EvalProtocol,
    *,
    captions: Captions | None = None,
    limit: int | None = None,
    split: str | None = None,
    follow_links: bool = False,
    progress: Callable[[int], object] | None = None,
) -> ClipSet:
    """Opens a set of clips without decoding any.

    source: a folder of sound files at any depth, a table of files (.csv .tsv .json .jsonl), or a
    prepared corpus. captions: a table of captions by file name, stem or id, or {name: caption}.
    limit: only the first clips by name, besides the protocol's. split: of a corpus or table.
    follow_links: reads links too, as `prepare` does. progress: called for each record of a corpus,
    whose names are read at once. Raises InputError for a set without clips.
    """
    path, problems = files.user_path(os.fspath(source)), Problems()
    if path.is_file():
        if path.suffix.lower() not in folder.TABLES:
            raise InputError(f"{path}: name the folder of sound files, or a table of them")
        clips = clip_sources.list_clips(path, problems, split, follow_links)
    elif not path.is_dir():
        raise InputError(f"{path}: no such folder, table or prepared corpus")
    elif reader.is_corpus(path) or any(path.glob("*/dataset_info.json")):
        clips = clip_sources.corpus_clips(path, problems, split, progress)
    else:
        clips = clip_sources.folder_clips(path, problems, follow_links)
    if captions is not None:
        clips = clip_sources.with_captions(clips, captions, problems)
    if not clips:
        raise InputError(f"{path}: no sound files in it{_reasons(problems)}")
    clips = _first(clips, [n for n in (limit, protocol.limit) if n is not None])
    if any(clip.caption for clip in clips):
        for clip in clips:
            if not clip.caption:
                problems.add("no_caption", clip.name)
    return ClipSet(str(source), clips, problems, protocol)


def _first(clips: list[Clip], limits: list[int]) -> list[Clip]:
    """The first clips by name, by the smallest limit."""
    if limits and min(limits) < 1:
        raise InputError(f"limit {min(limits)}: at least one clip is needed")
    return sorted(clips, key=lambda clip: clip.name)[: min(limits, default=None)]


def _reasons(problems: Problems) -> str:
    lines = problems.lines()
    return f" ({'; '.join(lines)})" if lines else ""


def pair(generated: ClipSet, reference: ClipSet, protocol: EvalProtocol) -> Pairs:
    """Pairs the usable clips of two sets by the protocol's rule; see `pairing.pair_names`.

    An unusable clip keeps its partner from others, and its pair counts in the share that the
    protocol needs; then the pair is left out, and `lines` tell it. Positions are those of the sets'
    `clips`. `problems` of both sets count the unmatched clips.
    """
    sets = (generated, reference)
    names = [[clip.name for clip in clips.clips] for clips in sets]
    listed = pairing.pair_names(*names, protocol)
    partners = (listed.generated, listed.reference)
    kept = [np.union1d(clips.usable, side) for clips, side in zip(sets, partners)]
    pairs = pairing.pair_names(*([n[i] for i in k] for n, k in zip(names, kept)), protocol)
    ours, theirs = kept[0][pairs.generated], kept[1][pairs.reference]
    good = np.isin(ours, generated.usable) & np.isin(theirs, reference.usable)
    lines = pairs.lines + _left_out(generated, reference, ours, theirs, good)
    ours, theirs, lost = ours[good], theirs[good], (ours[~good], theirs[~good])
    unmatched = [np.setdiff1d(clips.usable, side) for clips, side in zip(sets, (ours, theirs))]
    for clips, positions, partnered in zip(sets, unmatched, lost):
        clips.problems.clear("unmatched")
        for position in positions:
            reason = "its partner cannot be used" if position in partnered else ""
            clips.problems.add("unmatched", clips.clips[position].name, reason)
    return Pairs(ours, theirs, pairs.is_paired and len(ours) > 0, *unmatched, lines)


def _left_out(generated: ClipSet, reference: ClipSet, ours, theirs, good) -> list[str]:
    """How many pairs have an unusable clip, in a line with the first reasons; [] for none."""
    reasons = [
        f"{side} {clips.clips[i].name}: {clips.reason(i)}"
        for pair in zip(ours[~good], theirs[~good])
        for side, clips, i in zip(("generated", "reference"), (generated, reference), pair)
        if clips.reason(i)
    ]
    if not reasons:
        return []
    count, shown = int((~good).sum()), "; ".join(reasons[:3])
    verb, more = "is" if count == 1 else "are", "; ..." if len(reasons) > 3 else ""
    return [f"{count} of {len(good)} pairs {verb} left out, for unusable clips ({shown}{more})"]
