"""Iterates over batches of a stream, on the host or on devices, with a state to save."""

from __future__ import annotations

import functools
import weakref
from collections import deque

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from audioldm2_jax.data.loading.stream import ClipStream, DataConfig
from audioldm2_jax.errors import InputError


class Batches:
    """Iterates over this host's batches.

    sharding: places each array as this host's part of a global array, `ahead` batches in advance.
    Texts stay arrays of str. Without a sharding, all arrays are numpy arrays.

    `state()` returns the position after the batches so far, as plain numbers. `restore` continues
    from there bit for bit, also in a new process and with other numbers of workers and threads.
    Close the object, or use it in `with`, to end its workers.
    """

    def __init__(
        self, config: DataConfig, *, host: int = 0, hosts: int = 1, sharding=None, ahead: int = 2
    ):
        self._stream = ClipStream(config, host=host, hosts=hosts)
        self._sharding, self._ahead = sharding, ahead if sharding is not None else 0
        self._settings = {"seed": config.seed, "clips": self._stream.clips, "hosts": hosts}
        self._start(0)

    def _start(self, position: int) -> None:
        self._position, self._ready = position, deque()
        self._sources = [self._stream.iterate(position)]
        # A finalizer runs before modules are torn down; grain's threads need them to end.
        self._closing = weakref.finalize(self, _end, self._sources)

    def __iter__(self):
        return self

    def __next__(self) -> dict:
        while len(self._ready) <= self._ahead:
            try:
                batch = next(self._sources[0])
            except StopIteration:
                break
            self._ready.append((self._place(batch), self._stream.error_budget.seen))
        if not self._ready:
            raise StopIteration
        batch, self._position = self._ready.popleft()
        return batch

    def _place(self, batch: dict) -> dict:
        if self._sharding is None:
            return batch
        sharding = self._sharding
        try:
            sharding.shard_shape((len(batch["id"]) * self._stream.hosts,))
        except ValueError:
            # A short last batch, which only a single process has, is replicated.
            sharding = NamedSharding(sharding.mesh, PartitionSpec())
        place = functools.partial(jax.make_array_from_process_local_data, sharding)
        return {
            key: value if value.dtype.kind == "U" else place(value) for key, value in batch.items()
        }

    @property
    def clips(self) -> int:
        """The number of distinct clips in the stream."""
        return self._stream.clips

    @property
    def failed(self) -> dict[str, str]:
        """The reason for each skipped clip, by name."""
        return dict(self._stream.error_budget.failed)

    def state(self) -> dict[str, int]:
        """The state for `restore`: position (clips of this host), seed, clips and hosts."""
        return {"position": self._position, **self._settings}

    def restore(self, state: dict[str, int]) -> None:
        """Continues where `state` was taken.

        Raises InputError if the clips, the seed or the number of hosts differ.
        """
        for key, value in self._settings.items():
            if state.get(key) != value:
                raise InputError(
                    f"the data's saved state has {key} {state.get(key)}, this run {value}: "
                    "resume with the same corpora, seed and hosts"
                )
        self.close()
        self._start(int(state["position"]))

    def close(self) -> None:
        """Ends threads and worker processes."""
        self._closing()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _end(sources: list) -> None:
    while sources:
        sources.pop().close()


def arrays(batch: dict) -> dict[str, np.ndarray]:
    """A batch without its texts: the arrays that a compiled step takes."""
    return {key: value for key, value in batch.items() if value.dtype.kind != "U"}
