"""Features of a set of clips: on all devices of all hosts, with a cache, resumable."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np

from audioldm2_jax import distributed, log
from audioldm2_jax.data.ingest.file_ref import Unreadable
from audioldm2_jax.errors import InputError, NumericalError
from audioldm2_jax.evaluation.backbones.base import Backbone, ClipOutput
from audioldm2_jax.evaluation.feature_cache import FeatureCache
from audioldm2_jax.evaluation.metrics.statistics import GaussianStatistics
from audioldm2_jax.evaluation.reservoir import Reservoir

if TYPE_CHECKING:
    from audioldm2_jax.evaluation.clips import Clip, ClipSet
    from audioldm2_jax.evaluation.protocol import LoaderRules

_CLIPS = 32  # of a chunk, for each device; a chunk is one file of the cache
_READERS = 4  # threads that decode


@dataclass
class Features:
    """What a network says of a set's clips, as far as `reservoir.Reservoir` has them.

    names: [N] of the clips that are held. embeddings: float32 [F, D]; clip_index: [F], the position
    in `names` of each one's clip, ascending. logits: [N, K] or None. backbone: the network's name;
    sha256: of its weights; labels: names of its K classes. count, rows: of clips that could be read
    and of their rows; moments: of all rows, None where all are held.
    """

    names: list[str]
    embeddings: np.ndarray
    clip_index: np.ndarray
    logits: np.ndarray | None
    backbone: str
    sha256: str
    labels: tuple[str, ...]
    count: int
    rows: int
    moments: GaussianStatistics | None = None

    @property
    def is_whole(self) -> bool:
        """Whether all clips are held."""
        return self.moments is None


def extract(
    clips: ClipSet,
    backbone: Backbone,
    rules: LoaderRules,
    *,
    cache: Path | None = None,
    progress: bool = False,
) -> Features:
    """Features of a set by one network; otherwise as `extract_all`."""
    return extract_all(clips, [backbone], rules, cache=cache, progress=progress)[0]


def extract_all(
    clips: ClipSet,
    backbones: Sequence[Backbone],
    rules: LoaderRules,
    *,
    cache: Path | None = None,
    progress: bool = False,
) -> list[Features]:
    """Features of a set by each of several networks of one rate, for which a clip is read once.

    Clips are in the set's order; every host of a job has the features of all. rules: how clips are
    read. cache: a folder of features by content, None for none. progress: whether lines on stderr
    tell how far it is. Clips that cannot be read are left out; the set's `problems` count them.

    Raises InputError if no clip can be read or the cache cannot be written, NumericalError for
    values that are not finite.
    """
    if len({backbone.sample_rate for backbone in backbones}) > 1:
        raise InputError("networks of several rates do not read the same samples")
    work = _Work(clips, [_Network(b, FeatureCache(cache, b, rules)) for b in backbones], rules)
    work.run(progress)
    features = []
    for network in work.networks:
        reservoir = network.reservoir
        if jax.process_count() > 1:
            reservoir = Reservoir()
            for share in distributed.gather_bytes(network.reservoir.encode()):
                reservoir.merge(Reservoir.decode(share))
        if not reservoir.count:
            raise InputError(f"{clips.name}: none of its {len(clips.clips)} clips can be read")
        features.append(_features(reservoir, network.backbone))
    return features


@dataclass
class _Network:
    """A network, where its features are kept on disk, and what is held of them."""

    backbone: Backbone
    store: FeatureCache
    reservoir: Reservoir = field(default_factory=Reservoir)


@dataclass
class _Item:
    """A clip with its keys in the networks' caches; samples, unless all of them have it."""

    clip: Clip
    keys: list[bytes]
    waveform: np.ndarray | None = None


@dataclass
class _Work:
    """A set's clips on their way through networks that read the same samples."""

    clips: ClipSet
    networks: list[_Network]
    rules: LoaderRules

    def run(self, progress: bool) -> None:
        """Goes through this host's share: host i of n has the clips i, i + n, ..."""
        share = self.clips.clips[jax.process_index() :: jax.process_count()]
        size = int(_CLIPS * jax.local_device_count())
        chunks = [share[i : i + size] for i in range(0, len(share), size)]
        label = " ".join(network.backbone.name for network in self.networks)
        counter = log.Counter(f"{label}: {self.clips.name}", len(share), visible=progress)
        with ThreadPoolExecutor(_READERS) as pool:
            ahead: list[list[Future]] = [self._start(pool, chunk) for chunk in chunks[:1]]
            for i, chunk in enumerate(chunks):
                futures = ahead.pop()
                if i + 1 < len(chunks):  # decoded while the networks run
                    ahead.append(self._start(pool, chunks[i + 1]))
                self._finish(futures)
                counter.add(len(chunk))

    def _start(self, pool: ThreadPoolExecutor, chunk: Sequence[Clip]) -> list[Future]:
        """Futures of an _Item for each clip, None for an unreadable one."""
        return [pool.submit(self._item, clip) for clip in chunk]

    def _item(self, clip: Clip) -> _Item | None:
        try:
            stores, keys = [network.store for network in self.networks], []
            if any(store.folder for store in stores):
                content = self.clips.content_hash(clip)
                keys = [store.key(content) for store in stores]
            if keys and all(key in store for key, store in zip(keys, stores)):
                return _Item(clip, keys)
            return _Item(clip, keys or [b""] * len(stores), self._read(clip))
        except Unreadable:  # the set counts it
            return None

    def _read(self, clip: Clip) -> np.ndarray:
        return self.clips.read(clip, self.rules, self.networks[0].backbone.sample_rate)

    def _finish(self, futures: list[Future]) -> None:
        """Holds the features of a chunk; what was computed is in the caches then."""
        items = [item for future in futures if (item := future.result()) is not None]
        for i, network in enumerate(self.networks):
            outputs = [network.store.get(item.keys[i]) for item in items]
            missing = [k for k, output in enumerate(outputs) if output is None]
            for k in missing:
                if items[k].waveform is None:  # the cache's file is damaged
                    items[k].waveform = self._read(items[k].clip)
            computed = network.backbone([items[k].waveform for k in missing])
            for k, output in zip(missing, computed):
                _check_finite(output, items[k].clip.name, network.backbone)
                outputs[k] = output
            network.store.put([items[k].keys[i] for k in missing], computed)
            for item, output in zip(items, outputs):
                network.reservoir.add(item.clip.name, output)


def _check_finite(output: ClipOutput, name: str, backbone: Backbone) -> None:
    logits = () if output.logits is None else output.logits
    if not (np.isfinite(output.embeddings).all() and np.isfinite(logits).all()):
        raise NumericalError(f"{name}: {backbone.name} gives values that are not finite")


def _features(reservoir: Reservoir, backbone: Backbone) -> Features:
    """Features of the clips that are held, by name, which is the order of sets."""
    names, outputs = zip(*reservoir)
    counts = [len(output.embeddings) for output in outputs]
    logits = [output.logits for output in outputs if output.logits is not None]
    return Features(
        list(names),
        np.concatenate([output.embeddings for output in outputs]),
        np.repeat(np.arange(len(names)), counts),
        np.stack(logits) if logits else None,
        backbone.name,
        backbone.sha256,
        backbone.labels,
        reservoir.count,
        reservoir.rows,
        reservoir.moments,
    )
