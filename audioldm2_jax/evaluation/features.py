"""Features of a set of clips: on all devices of all hosts, with a cache, resumable."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np

from audioldm2_jax import distributed, log
from audioldm2_jax.data.ingest.file_ref import Unreadable
from audioldm2_jax.errors import InputError, NumericalError
from audioldm2_jax.evaluation.backbones.base import Backbone, ClipOutput
from audioldm2_jax.evaluation.feature_cache import FeatureCache

if TYPE_CHECKING:
    from audioldm2_jax.evaluation.clips import Clip, ClipSet
    from audioldm2_jax.evaluation.protocol import LoaderRules

_CLIPS = 32  # of a chunk, for each device; a chunk is one file of the cache
_READERS = 4  # threads that decode


@dataclass
class Features:
    """What a network says of clips.

    names: [N] of the clips that could be read. embeddings: float32 [F, D]; clip_index: [F], the
    position in `names` of each one's clip, ascending. logits: [N, K] or None. backbone: the
    network's name; sha256: of its weights; labels: names of its K classes.
    """

    names: list[str]
    embeddings: np.ndarray
    clip_index: np.ndarray
    logits: np.ndarray | None
    backbone: str
    sha256: str
    labels: tuple[str, ...]


def extract(
    clips: ClipSet,
    backbone: Backbone,
    rules: LoaderRules,
    *,
    cache: Path | None = None,
    progress: bool = False,
) -> Features:
    """Features of all clips of a set, in its order; every host of a job has all of them.

    rules: how clips are read. cache: a folder of features by content, None for none. progress:
    whether lines on stderr tell how far it is. Clips that cannot be read are left out; the set's
    `problems` count them.

    Raises InputError if no clip can be read or the cache cannot be written, NumericalError for
    values that are not finite.
    """
    parts = list(_stream(clips, backbone, rules, cache=cache, progress=progress))
    if jax.process_count() > 1:
        shares = distributed.gather_bytes(_encode(parts))
        parts = [part for share in shares for part in _decode(share, backbone)]
    features = _merge(parts, [clip.name for clip in clips.clips], backbone)
    if not features.names:
        raise InputError(f"{clips.name}: none of its {len(clips.clips)} clips can be read")
    return features


def _stream(
    clips: ClipSet,
    backbone: Backbone,
    rules: LoaderRules,
    *,
    cache: Path | None = None,
    progress: bool = False,
) -> Iterator[Features]:
    """Yields features of this host's share of a set, some clips at a time.

    Host i of n has the clips i, i + n, ... Arguments and errors are those of `extract`, but a
    share without readable clips is no error.
    """
    share = clips.clips[jax.process_index() :: jax.process_count()]
    size = int(_CLIPS * jax.local_device_count())
    chunks = [share[i : i + size] for i in range(0, len(share), size)]
    work = _Work(clips, FeatureCache(cache, backbone, rules), backbone, rules)
    counter = log.Counter(f"{backbone.name}: {clips.name}", len(share), visible=progress)
    with ThreadPoolExecutor(_READERS) as pool:
        ahead: list[list[Future]] = [work.start(pool, chunk) for chunk in chunks[:1]]
        for i, chunk in enumerate(chunks):
            futures = ahead.pop()
            if i + 1 < len(chunks):  # decoded while the network runs
                ahead.append(work.start(pool, chunks[i + 1]))
            yield work.finish(futures)
            counter.add(len(chunk))


@dataclass
class _Item:
    """A clip to be computed, with its samples, or one whose features the cache has."""

    clip: Clip
    key: bytes
    waveform: np.ndarray | None = None
    output: ClipOutput | None = None


@dataclass
class _Work:
    """What each chunk of clips goes through."""

    clips: ClipSet
    store: FeatureCache
    backbone: Backbone
    rules: LoaderRules

    def start(self, pool: ThreadPoolExecutor, chunk: Sequence[Clip]) -> list[Future]:
        """Futures of an _Item for each clip, None for an unreadable one."""
        return [pool.submit(self._item, clip) for clip in chunk]

    def _item(self, clip: Clip) -> _Item | None:
        try:
            key = self.store.key(self.clips.content_hash(clip)) if self.store.folder else b""
            if key in self.store:
                return _Item(clip, key)
            return _Item(clip, key, self._read(clip))
        except Unreadable:  # the set counts it
            return None

    def _read(self, clip: Clip) -> np.ndarray:
        return self.clips.read(clip, self.rules, self.backbone.sample_rate)

    def finish(self, futures: list[Future]) -> Features:
        """The features of a chunk; what was computed is in the cache then."""
        items = [item for future in futures if (item := future.result()) is not None]
        for item in items:
            if item.waveform is None:
                item.output = self.store.get(item.key)
                if item.output is None:  # its file is damaged
                    item.waveform = self._read(item.clip)
        missing = [item for item in items if item.output is None]
        outputs = self.backbone([item.waveform for item in missing])
        for item, output in zip(missing, outputs):
            _check_finite(output, item.clip.name, self.backbone)
            item.output = output
        self.store.put([item.key for item in missing], outputs)
        pairs = [(item.clip.name, item.output) for item in items if item.output is not None]
        return _features(pairs, self.backbone)


def _check_finite(output: ClipOutput, name: str, backbone: Backbone) -> None:
    logits = () if output.logits is None else output.logits
    if not (np.isfinite(output.embeddings).all() and np.isfinite(logits).all()):
        raise NumericalError(f"{name}: {backbone.name} gives values that are not finite")


def _features(pairs: Sequence[tuple[str, ClipOutput]], backbone: Backbone) -> Features:
    """Features of clips from (name, output) of each."""
    outputs = [output for _, output in pairs]
    counts = [len(output.embeddings) for output in outputs]
    logits = [output.logits for output in outputs if output.logits is not None]
    return Features(
        [name for name, _ in pairs],
        _concatenated([output.embeddings for output in outputs]),
        np.repeat(np.arange(len(pairs)), counts),
        np.stack(logits) if logits else None,
        backbone.name,
        backbone.sha256,
        backbone.labels,
    )


def _merge(parts: Sequence[Features], names: Sequence[str], backbone: Backbone) -> Features:
    """The features of all parts, in the order of `names`."""
    present = [part for part in parts if part.names]
    starts = np.cumsum([0, *(len(part.names) for part in present)])
    merged = [name for part in present for name in part.names]
    position = {name: i for i, name in enumerate(names)}
    order = np.argsort([position[name] for name in merged], kind="stable")
    rank = np.empty(len(merged), int)
    rank[order] = np.arange(len(merged))
    clip_index = np.concatenate(
        [np.zeros(0, int), *(rank[p.clip_index + s] for p, s in zip(present, starts))]
    )
    rows = np.argsort(clip_index, kind="stable")
    logits = [part.logits for part in present if part.logits is not None]
    return Features(
        [merged[i] for i in order],
        _concatenated([part.embeddings for part in present])[rows],
        clip_index[rows],
        np.concatenate(logits)[order] if logits else None,
        backbone.name,
        backbone.sha256,
        backbone.labels,
    )


def _concatenated(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(arrays) if arrays else np.zeros((0, 0), np.float32)


def _encode(parts: Sequence[Features]) -> bytes:
    """Features as bytes, for the other hosts of the job."""
    content = io.BytesIO()
    arrays = {}
    for i, part in enumerate(parts):
        names = "\0".join(part.names).encode("utf-8", "surrogatepass")
        arrays |= {
            f"names_{i}": np.frombuffer(names, np.uint8),
            f"embeddings_{i}": part.embeddings,
            f"index_{i}": part.clip_index,
        }
        if part.logits is not None:
            arrays[f"logits_{i}"] = part.logits
    np.savez(content, allow_pickle=False, count=np.array(len(parts)), **arrays)
    return content.getvalue()


def _decode(content: bytes, backbone: Backbone) -> list[Features]:
    """The inverse of `_encode`."""
    parts = []
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        for i in range(int(arrays["count"])):
            names = arrays[f"names_{i}"].tobytes().decode("utf-8", "surrogatepass")
            logits = arrays[f"logits_{i}"] if f"logits_{i}" in arrays.files else None
            parts.append(
                Features(
                    names.split("\0") if names else [],
                    arrays[f"embeddings_{i}"],
                    arrays[f"index_{i}"],
                    logits,
                    backbone.name,
                    backbone.sha256,
                    backbone.labels,
                )
            )
    return parts
