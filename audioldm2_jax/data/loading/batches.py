"""Batches of a stream, on the host or placed on devices ahead of use, with a state to save."""

from __future__ import annotations

import weakref
from collections import deque

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from audioldm2_jax.data.loading.stream import ClipStream, DataConfig
from audioldm2_jax.errors import InputError


class Batches:
    """Iterates over this host's batches.

    sharding: places the arrays as parts of global ones, the batch over all hosts, `ahead` batches
    before they are asked for; texts stay arrays of str. Without it all arrays are numpy's.

    `state()` is where the stream stands after the batches returned so far, as plain numbers;
    `restore` goes on from there to the bit, in a new process too, whatever the number of workers
    and threads. Close it, or use it in `with`, to end its workers.
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
        # Before modules are torn down: grain's threads and shared memory need them to end.
        self._closing = weakref.finalize(self, _end, self._sources)

    def __iter__(self):
        return self

    def __next__(self) -> dict:
        while len(self._ready) <= self._ahead:
            try:
                batch = next(self._sources[0])
            except StopIteration:
                break
            self._ready.append((self._placed(batch), self._stream.error_budget.seen))
        if not self._ready:
            raise StopIteration
        batch, self._position = self._ready.popleft()
        return batch

    def _placed(self, batch: dict) -> dict:
        if self._sharding is None:
            return batch
        place, where = jax.make_array_from_process_local_data, self._sharding
        try:
            where.shard_shape((len(batch["id"]) * self._stream.hosts,))
        except ValueError:
            # A short last batch, which one process alone has, lies on every device.
            where = NamedSharding(where.mesh, PartitionSpec())
        return {
            key: value if value.dtype.kind == "U" else place(where, value)
            for key, value in batch.items()
        }

    @property
    def clips(self) -> int:
        """How many different clips the stream holds."""
        return self._stream.clips

    @property
    def failed(self) -> dict[str, str]:
        """Clips that were passed over, and why."""
        return dict(self._stream.error_budget.failed)

    def state(self) -> dict[str, int]:
        """position: this host's clips that are through; seed, clips and hosts, for `restore`."""
        return {"position": self._position, **self._settings}

    def restore(self, state: dict[str, int]) -> None:
        """Goes on where `state` was taken.

        Raises InputError if the stream is another one: other clips, seed, or number of hosts.
        """
        for key, here in self._settings.items():
            if state.get(key) != here:
                raise InputError(
                    f"the data's saved state has {key} {state.get(key)}, this run {here}: "
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
    """A batch without its texts: what a compiled step takes."""
    return {key: value for key, value in batch.items() if value.dtype.kind != "U"}
