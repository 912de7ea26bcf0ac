"""Training state on disk, by orbax: saved beside the run, restored onto any mesh."""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import shutil
import time
import zlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies
from orbax.checkpoint import type_handlers

from audioldm2_jax.errors import InputError

# Replicas write large arrays in slices, each a program to compile; small ones are not worth it.
_SLICED = 1 << 20  # bytes
# Beside the data's position: a sum over all words of the state.
SUM = "sum"


class Checkpoints:
    """A run's saved states in `folder`: every `every` steps, and when the job is told to end.

    keep: how many of the last; keep_every: steps whose states stay for good, 0 for none. Raises
    InputError where the folder cannot be used; no method lets one of orbax' exceptions pass.
    """

    def __init__(self, folder, *, every: int, keep: int = 3, keep_every: int = 0):
        preserved = [policies.LatestN(keep)]
        if keep_every:
            preserved.append(policies.EveryNSteps(keep_every))
        options = ocp.CheckpointManagerOptions(
            save_decision_policy=policies.AnySavePolicy(
                [policies.FixedIntervalPolicy(every), policies.PreemptionCheckpointingPolicy()]
            ),
            preservation_policy=policies.AnyPreservationPolicy(preserved),
        )
        arrays = type_handlers.ArrayHandler(min_slice_bytes_for_replica_parallel=_SLICED)
        registry = type_handlers.create_type_handler_registry((jax.Array, arrays))
        handlers = {
            "state": ocp.PyTreeCheckpointHandler(type_handler_registry=registry),
            "data": ocp.JsonCheckpointHandler(),
        }
        self.folder = Path(folder).resolve()
        with self._errors("open"):
            self._manager = ocp.CheckpointManager(
                self.folder, options=options, item_handlers=handlers
            )

    @property
    def latest(self) -> int | None:
        """The last saved step; None before the first."""
        return self._manager.latest_step()

    @property
    def steps(self) -> list[int]:
        """All saved steps, in order."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state, data: dict, *, now: bool = False) -> bool:
        """Begins to save if it is due, or `now`; returns whether it did. Raises InputError."""
        if step == self.latest or not (now or self._manager.should_save(step)):
            return False
        data = data | {SUM: int(_sum(state))}
        data[SUM + "_data"] = _sum_of(data)
        parts = {"state": ocp.args.PyTreeSave(state), "data": ocp.args.JsonSave(data)}
        with self._errors("save"):
            return self._manager.save(step, args=ocp.args.Composite(**parts), force=now)

    def restore(self, shapes, shardings, step: int | None = None) -> tuple[Any, dict]:
        """A state on these shardings, and the data's. step: by default the last.

        Raises InputError if there is no such state, or if it is damaged or of another
        configuration.
        """
        step = self.latest if step is None else step
        if step not in self.steps:
            known = f"it has {' '.join(map(str, self.steps))}" if self.steps else "none is saved"
            raise InputError(f"{self.folder}: no state of step {step}; {known}")
        like = jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, shardings
        )
        placed = ocp.checkpoint_utils.construct_restore_args(like)
        parts = {"state": ocp.args.PyTreeRestore(like, placed), "data": ocp.args.JsonRestore()}
        try:
            with _quiet():
                found = self._manager.restore(step, args=ocp.args.Composite(**parts))
            state, data = found["state"], dict(found["data"])
            self._check(state, data)
        except Exception as error:  # orbax and tensorstore raise many kinds, also bare Exception
            raise InputError(self._damage(step, shapes, error)) from None
        return state, data

    def _check(self, state, data: dict) -> None:
        """Raises ValueError where the sums are not those that were saved."""
        ours, whole = data.pop(SUM + "_data", None), data.get(SUM)
        if ours is not None and ours != _sum_of(data):
            raise ValueError("the data's position is not what was saved")
        data.pop(SUM, None)
        if whole is not None and whole != int(_sum(state)):
            raise ValueError("its values are not those that were saved")

    def _damage(self, step: int, shapes, error: Exception) -> str:
        """What is wrong with a state that does not restore, and what to do."""
        if other := self._other(step, shapes):
            return f"{self.folder}: the saved state is of another configuration ({other})"
        line = " ".join(str(error).split())[:120] or type(error).__name__
        before = [x for x in self.steps if x < step]
        then = f"go on from step {before[-1]}" if before else "begin anew; there is no earlier one"
        path = self.folder / str(step)
        return f"{path}: the state is damaged ({line}); delete this folder to {then}"

    def _other(self, step: int, shapes) -> str:
        """Where the saved tree differs from `shapes`; "" where it does not, or is damaged."""
        try:
            with _quiet():
                saved = self._manager.item_metadata(step)["state"]
            ours, theirs = (
                {jax.tree_util.keystr(p): tuple(x.shape) for p, x in _leaves(t)}
                for t in (shapes, getattr(saved, "tree", saved))
            )
        except Exception:  # the description itself is damaged
            return ""
        ours, theirs = ({_plain(k): v for k, v in found.items()} for found in (ours, theirs))
        # A key is saved as its words; a folder that tells no shapes is damaged.
        if ours.pop("key", None) is not None and not theirs.pop("key", None):
            return ""
        for path in sorted(ours.keys() | theirs.keys()):
            if ours.get(path) != theirs.get(path):
                there, here = (found.get(path, "absent") for found in (theirs, ours))
                return f"{path}: {there} there, {here} here"
        return ""

    def finish(self) -> None:
        """Waits for what is being written. Raises InputError where it cannot be."""
        try:
            with self._errors("save"):
                self._manager.wait_until_finished()
        finally:
            self._manager.close()

    @contextlib.contextmanager
    def _errors(self, what: str):
        """Exceptions as InputError; what a failed save left is removed."""
        try:
            with _quiet():
                yield
        except Exception as error:
            for path in self.folder.glob("*tmp*"):
                shutil.rmtree(path, ignore_errors=True)
            line = " ".join(str(error).split())[:200] or type(error).__name__
            raise InputError(f"{self.folder}: cannot {what} the state ({line})") from None

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            self.finish()
        except InputError:
            # The first error is the one to tell.
            if kind is None:
                raise


@jax.jit
def _sum(state):
    """The sum of all 32-bit words, each leaf with a factor of its own: the same on any mesh."""
    total = jnp.uint32(0)
    for number, leaf in enumerate(jax.tree.leaves(state)):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        words = leaf.astype(jnp.uint32) if leaf.dtype == bool else _words(leaf)
        total += jnp.uint32(2 * number + 1) * jnp.sum(words, dtype=jnp.uint32)
    return total


def _words(leaf):
    size = leaf.dtype.itemsize
    kinds = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}
    return jax.lax.bitcast_convert_type(leaf, kinds[min(size, 4)]).astype(jnp.uint32)


def _sum_of(data: dict) -> int:
    return zlib.crc32(repr(sorted(data.items())).encode())


def _leaves(tree):
    return jax.tree_util.tree_flatten_with_path(tree)[0]


def _plain(path: str) -> str:
    """A path without the marks of attributes and items, which orbax does not keep."""
    for mark in ("['", "']", "[", "]", "."):
        path = path.replace(mark, "/")
    return "/".join(part for part in path.split("/") if part)


@contextlib.contextmanager
def _quiet():
    """Without what orbax, asyncio and tensorstore say of an error that becomes one line of ours."""
    loggers = [logging.getLogger(name) for name in (None, "absl", "asyncio")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    # After one read has failed, each that still ends prints a traceback.
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            yield
        except Exception as error:
            error.__traceback__ = error.__context__ = error.__cause__ = None
            time.sleep(0.3)
            gc.collect()
            raise
        finally:
            for logger, level in zip(loggers, before):
                logger.setLevel(level)
