"""A bounded sample of a set's features, and the moments of all of them."""

from __future__ import annotations

import hashlib
import heapq
import io
from collections.abc import Iterator

import numpy as np

from audioldm2_jax.evaluation.backbones.base import ClipOutput
from audioldm2_jax.evaluation.metrics.statistics import GaussianStatistics
from audioldm2_jax.evaluation.pairing import stem

# At most so many clips and so many numbers (float32) of a network and set stay in memory.
CLIPS, VALUES = 1 << 15, 1 << 26


class Reservoir:
    """A network's outputs of clips, in memory that their number does not change.

    count, rows: clips and rows of embeddings so far. moments: mean and covariance of all rows, None
    while the sample is the whole set. Of more clips than CLIPS or VALUES allow a part stays, drawn
    by the stem of the name, so that pairs stay together.
    """

    def __init__(self):
        self.count = self.rows = 0
        self.moments: GaussianStatistics | None = None
        self._heap: list[tuple[int, str, ClipOutput]] = []  # the next clip to leave first
        self._values = 0

    def __iter__(self) -> Iterator[tuple[str, ClipOutput]]:
        """Yields (name, output) of the clips in the sample, by name."""
        return iter(sorted(((name, output) for _, name, output in self._heap), key=_name))

    def add(self, name: str, output: ClipOutput) -> None:
        """Adds a clip. name: unique in its set."""
        self.count += 1
        self.rows += len(output.embeddings)
        if self.moments is not None:
            self.moments.update(output.embeddings)
        elif self._heap and self._exceeds(len(self._heap) + 1, self._values + _values(output)):
            self.moments = self._all_moments()
            self.moments.update(output.embeddings)
        self._push(name, output)

    def merge(self, other: Reservoir) -> None:
        """Adds the clips of another host's share of the set."""
        clips, values = len(self._heap) + len(other._heap), self._values + other._values
        if self.moments is not None or other.moments is not None or self._exceeds(clips, values):
            self.moments = _merged(self._all_moments(), other._all_moments())
        self.count += other.count
        self.rows += other.rows
        for _, name, output in other._heap:
            self._push(name, output)

    def encode(self) -> bytes:
        """All of it as bytes, for the other hosts of a job."""
        names, outputs = zip(*self) if self._heap else ((), ())
        text = "\0".join(names).encode("utf-8", "surrogatepass")
        arrays = {
            "totals": np.array([self.count, self.rows]),
            "names": np.frombuffer(text, np.uint8),
            "counts": np.array([len(output.embeddings) for output in outputs], int),
        }
        if outputs:
            arrays["embeddings"] = np.concatenate([output.embeddings for output in outputs])
        if outputs and outputs[0].logits is not None:
            arrays["logits"] = np.stack([output.logits for output in outputs])
        if self.moments is not None:
            arrays |= {f"moments_{key}": value for key, value in self.moments.arrays().items()}
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **arrays)
        return content.getvalue()

    @classmethod
    def decode(cls, content: bytes) -> Reservoir:
        """The inverse of `encode`."""
        reservoir = cls()
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = dict(file)
        counts = arrays["counts"]
        if len(counts):
            names = arrays["names"].tobytes().decode("utf-8", "surrogatepass").split("\0")
            parts = np.split(arrays["embeddings"], np.cumsum(counts)[:-1])
            logits = arrays.get("logits", [None] * len(counts))
            for name, part, row in zip(names, parts, logits):
                reservoir._push(name, ClipOutput(part, row))
        reservoir.count, reservoir.rows = map(int, arrays["totals"])
        if "moments_count" in arrays:
            keys = ("count", "mean", "factor")
            reservoir.moments = GaussianStatistics.from_arrays(
                {k: arrays[f"moments_{k}"] for k in keys}
            )
        return reservoir

    def _push(self, name: str, output: ClipOutput) -> None:
        heapq.heappush(self._heap, (-_rank(name), name, output))
        self._values += _values(output)
        while len(self._heap) > 1 and self._exceeds(len(self._heap), self._values):
            self._values -= _values(heapq.heappop(self._heap)[2])

    @staticmethod
    def _exceeds(clips: int, values: int) -> bool:
        return clips > CLIPS or values > VALUES

    def _all_moments(self) -> GaussianStatistics | None:
        """The moments of all rows so far; None of no clips."""
        if self.moments is not None or not self._heap:
            return self.moments
        moments = GaussianStatistics(self._heap[0][2].embeddings.shape[1])
        for _, output in self:
            moments.update(output.embeddings)
        return moments


def _merged(a: GaussianStatistics | None, b: GaussianStatistics | None):
    return a.merge(b) if a is not None and b is not None else a or b


def _rank(name: str) -> int:
    """A clip's place in the draw; folders do not count, as they need not in pairs."""
    base = stem(name).rpartition("/")[2].encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(base, digest_size=8).digest())


def _name(item: tuple[str, ClipOutput]) -> str:
    return item[0]


def _values(output: ClipOutput) -> int:
    return output.embeddings.size + (0 if output.logits is None else output.logits.size)
