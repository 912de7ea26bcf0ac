"""What backbones share: clips of any length in batches over the devices of this host.

A clip becomes rows, each one input of the network, already padded at its true ends. Rows of
similar length are filled with zeros to one size, and networks are told where rows end. So the
result of a clip depends neither on its mates nor on the size, and few programs are compiled.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


class ClipOutput(NamedTuple):
    """What a network says of one clip. embeddings: [P, D], of P patches; logits: [K] or None."""

    embeddings: np.ndarray
    logits: np.ndarray | None


class Row(NamedTuple):
    """One input of a network. values: its leading axis may differ among rows; extent: a number
    that the network is told, such as the frames that count.
    """

    values: np.ndarray
    extent: int


# (params, rows [B, ...], extents [B]) -> (embeddings [B, D], logits [B, K] or None), per row.
Apply = Callable[[Any, jax.Array, jax.Array], tuple[jax.Array, jax.Array | None]]


class Batches:
    """Runs a network on rows, in batches over the devices of this host.

    params: of the network; apply: a pure function of rows, one object for each configuration, so
    that its programs are compiled once. devices: None is all of this host. step: rows' sizes are
    its multiples. A device takes at most `most_rows` rows of `most_values` values in all, a quarter
    of these on a CPU, whose cores few rows keep busy.
    """

    def __init__(
        self,
        params: dict,
        apply: Apply,
        devices: Sequence[jax.Device] | None = None,
        *,
        step: int = 1,
        most_rows: int = 64,
        most_values: int = 1 << 22,
    ):
        devices = tuple(devices or jax.local_devices())
        mesh = _mesh(devices)
        self._program, self._devices = _program(apply, mesh), len(devices)
        self._params = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))
        self._sizes: list[int] = []
        self._step, self.most_rows = step, most_rows
        self._most_values = most_values // (4 if devices[0].platform == "cpu" else 1)

    def __call__(self, rows: list[Row]) -> list[tuple[np.ndarray, np.ndarray | None]]:
        """(embedding, logits) of each row; long rows first, whose sizes then serve shorter ones."""
        outputs: list = [None] * len(rows)
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i].values))
        while order:
            size = self._size(len(rows[order[0]].values))
            most = self._most(size, rows[order[0]].values)
            chosen = [i for i in order[:most] if self._size(len(rows[i].values)) == size]
            order = order[len(chosen) :]
            # Powers of two for each device, so that a set's last batch takes few programs.
            each = -(-len(chosen) // self._devices)
            count = self._devices << (each - 1).bit_length()
            embeddings, logits = self._program(
                self._params, *_stack([rows[i] for i in chosen], size, count)
            )
            embeddings = np.asarray(embeddings, np.float32)
            logits = None if logits is None else np.asarray(logits, np.float32)
            for slot, i in enumerate(chosen):
                outputs[i] = embeddings[slot], None if logits is None else logits[slot]
        return outputs

    def _size(self, length: int) -> int:
        """The smallest known size that wastes at most a sixth of its values, or a new one."""
        fits = [size for size in self._sizes if length <= size <= length * 6 / 5]
        if not fits:
            # Most sets have one length, the first. Later ones leave room for a little longer ones.
            least = length * 11 // 10 if self._sizes else length
            fits = [-(-least // self._step) * self._step]
            self._sizes.append(fits[0])
        return min(fits)

    def _most(self, size: int, values: np.ndarray) -> int:
        """Rows of one call: a power of two for each device."""
        width = size * int(np.prod(values.shape[1:], dtype=int))
        rows = max(1, min(self.most_rows, self._most_values // width))
        return self._devices << (rows.bit_length() - 1)


class Backbone(abc.ABC):
    """A network whose features metrics compare.

    name: of `registry.BACKBONES`. sample_rate: of its waveforms, Hz. sha256: of its weights.
    labels: names of its classes, () without logits. multi_label: whether classes are independent.
    version: of the computation, for caches; a change of results counts it up. settings: choices
    that change results of the same weights.
    """

    name: str
    sample_rate: int
    sha256: str
    labels: tuple[str, ...] = ()
    multi_label: bool = True
    version: int = 1
    settings: str = ""

    def __init__(self, batches: Batches):
        """batches: of the network that gives embeddings and logits."""
        self.batches = batches

    @abc.abstractmethod
    def rows(self, waveform: np.ndarray) -> list[Row]:
        """The inputs of a clip: at least one. waveform: float32 [samples]."""

    def clip_logits(self, logits: np.ndarray) -> np.ndarray:
        """Logits of a clip [K] from those of its rows [P, K]."""
        return logits.mean(0)

    def __call__(self, waveforms: Sequence[np.ndarray]) -> list[ClipOutput]:
        """Outputs of clips, of any lengths, at `sample_rate`; each is float32 [samples]."""
        rows = [self.rows(np.asarray(waveform, np.float32)) for waveform in waveforms]
        outputs = self.batches([row for clip in rows for row in clip])
        clips, start = [], 0
        for clip in rows:
            parts = outputs[start : start + len(clip)]
            start += len(clip)
            embeddings = np.stack([embedding for embedding, _ in parts])
            logits = [part for _, part in parts if part is not None]
            clips.append(
                ClipOutput(embeddings, self.clip_logits(np.stack(logits)) if logits else None)
            )
        return clips


def _stack(rows: list[Row], size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(values [count, size, ...], extents [count]); copies of the first row fill the batch."""
    values = np.zeros((count, size, *rows[0].values.shape[1:]), np.float32)
    extents = np.full(count, rows[0].extent, np.int32)
    for slot, row in enumerate(rows + rows[:1] * (count - len(rows))):
        values[slot, : len(row.values)] = row.values
        extents[slot] = row.extent
    return values, extents


@functools.cache
def _mesh(devices: tuple[jax.Device, ...]) -> Mesh:
    """Devices of one host: hosts share clips among them, and never wait for each other."""
    return Mesh(np.array(devices), ("rows",), axis_types=(AxisType.Auto,))


@functools.cache
def _program(apply: Apply, mesh: Mesh):
    """The compiled function over all devices. apply: kept by `functools.cache`, too."""

    def run(params, values, extents):
        # Accelerators multiply in fewer bits by default, and figures would depend on the device.
        with jax.default_matmul_precision("highest"):
            return apply(params, values, extents)

    rows = PartitionSpec("rows")
    specs = {"in_specs": (PartitionSpec(), rows, rows), "out_specs": rows}
    return jax.jit(jax.shard_map(run, mesh=mesh, check_vma=False, **specs))
