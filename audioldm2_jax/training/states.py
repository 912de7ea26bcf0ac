"""Training state on disk, by orbax: saved beside the run, restored onto any mesh."""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import os
import shutil
import sys
import threading
import time
import traceback
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


class SavedStates:
    """A run's saved states in `folder`: every `every` steps, and when the job must stop.

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
        self._undo = _silence()
        try:
            with self._errors("open"):
                self._manager = ocp.CheckpointManager(
                    self.folder, options=options, item_handlers=handlers
                )
        except InputError:
            self._undo()
            raise

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
        data = data | {SUM: _sum(state)}
        data[SUM + "_data"] = _sum_of(data)
        parts = {"state": ocp.args.PyTreeSave(state), "data": ocp.args.JsonSave(data)}
        with self._errors("save"):
            return self._manager.save(step, args=ocp.args.Composite(**parts), force=now)

    def restore(self, shapes, shardings, step: int | None = None) -> tuple[Any, dict]:
        """A state on these shardings, and the data's. step: by default the last.

        Raises InputError if there is no such state, if it cannot be read, or if it is damaged or of
        another configuration.
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
            restored = self._manager.restore(step, args=ocp.args.Composite(**parts))
            state, data = restored["state"], dict(restored["data"])
            self._check(state, data)
        except Exception as error:  # orbax and tensorstore raise many kinds, also bare Exception
            why, line = _unreadable(error), _line(error)
            error.__traceback__ = error.__context__ = error.__cause__ = None
            time.sleep(0.3)
            raise InputError(self._damage(step, shapes, why, line)) from None
        return state, data

    def _check(self, state, data: dict) -> None:
        """Raises ValueError where the sums are not those that were saved."""
        data_sum, state_sum = data.pop(SUM + "_data", None), data.get(SUM)
        if data_sum is not None and data_sum != _sum_of(data):
            raise ValueError("the data's position is not what was saved")
        data.pop(SUM, None)
        if state_sum is not None and state_sum != _sum(state):
            raise ValueError("its values are not those that were saved")

    def _damage(self, step: int, shapes, why: str, line: str) -> str:
        """What is wrong with a state that does not restore, and what to do.

        why: it cannot be read, though it may be whole; line: what the error says.
        """
        path = self.folder / str(step)
        if why:
            return f"{path}: cannot read the state ({why}); keep it, mend that and try again"
        if other := self._other(step, shapes):
            return f"{self.folder}: the saved state is of another configuration ({other})"
        before = [x for x in self.steps if x < step]
        then = f"go on from step {before[-1]}" if before else "begin anew; there is no earlier one"
        return f"{path}: the state is damaged ({line}); delete this folder to {then}"

    def _other(self, step: int, shapes) -> str:
        """Where the saved tree differs from `shapes`; "" where it does not, or is damaged."""
        try:
            saved = self._manager.item_metadata(step)["state"]
            ours, theirs = (
                {jax.tree_util.keystr(p): tuple(x.shape) for p, x in _leaves(t)}
                for t in (shapes, getattr(saved, "tree", saved))
            )
        except Exception:  # the description itself is damaged
            return ""
        ours, theirs = ({_plain(k): v for k, v in shapes.items()} for shapes in (ours, theirs))
        # A key is saved as its words; a folder that tells no shapes is damaged.
        if ours.pop("key", None) is not None and not theirs.pop("key", None):
            return ""
        for path in sorted(ours.keys() | theirs.keys()):
            if ours.get(path) != theirs.get(path):
                saved_shape, shape = (x.get(path, "absent") for x in (theirs, ours))
                return f"{path}: {saved_shape} there, {shape} here"
        return ""

    def finish(self) -> None:
        """Waits for what is being written. Raises InputError where it cannot be."""
        try:
            with self._errors("save"):
                self._manager.wait_until_finished()
        finally:
            with contextlib.suppress(Exception):  # reported already
                self._manager.close()
            self._undo()

    @contextlib.contextmanager
    def _errors(self, what: str):
        """Exceptions as InputError; what a failed save left is removed."""
        try:
            yield
        except Exception as error:
            if what == "save":
                for path in self.folder.glob("*tmp*"):
                    shutil.rmtree(path, ignore_errors=True)
            raise InputError(f"{self.folder}: cannot {what} the state ({_line(error)})") from None

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            self.finish()
        except InputError:
            # The first error is the one to report.
            if kind is None:
                raise


def _sum(state) -> int:
    """The sum of all 32-bit words modulo 2^32, each leaf with a factor of its own.

    The same on any mesh. Leaves of one shape share a program, which compiles in milliseconds; one
    program for the whole state takes as long as a tenth of the step.
    """
    sums = jax.device_get([_sum_on_device(leaf) for leaf in jax.tree.leaves(state)])
    return sum((2 * number + 1) * int(value) for number, value in enumerate(sums)) % (1 << 32)


@jax.jit
def _sum_on_device(leaf) -> jax.Array:
    """One uint32, added up where the shards lie: the host reads the scalar alone."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return jnp.sum(_words(leaf), dtype=jnp.uint32)


def _words(array) -> jax.Array:
    """The bits as uint32, of types that are no multiple of them as bytes."""
    if array.dtype == jnp.bool_:
        return array.astype(jnp.uint8)
    kind = jnp.uint32 if array.dtype.itemsize % 4 == 0 else jnp.uint8
    return jax.lax.bitcast_convert_type(array, kind)


def _sum_of(data: dict) -> int:
    return zlib.crc32(repr(sorted(data.items())).encode())


def _leaves(tree):
    return jax.tree_util.tree_flatten_with_path(tree)[0]


def _plain(path: str) -> str:
    """A path without the marks of attributes and items, which orbax does not keep."""
    for mark in ("['", "']", "[", "]", "."):
        path = path.replace(mark, "/")
    return "/".join(part for part in path.split("/") if part)


_CODES = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EFBIG, errno.EIO),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ETIMEDOUT, errno.ESTALE, errno.EBUSY),
    *(errno.EAGAIN, errno.ENOTCONN, errno.ECONNRESET, errno.ECONNREFUSED, errno.ENETUNREACH),
)
# tensorstore's errors for storage that does not answer.
_STATUSES = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "PERMISSION_DENIED", "UNAUTHENTICATED", "ABORTED")


def _line(error: BaseException) -> str:
    """The file system's error, or the first words of orbax' message."""
    text = " ".join(str(error).split())
    return _answer(text) or text[:120] or type(error).__name__


def _answer(text: str) -> str:
    """The file system's error in a message, else ""."""
    return next((x for x in map(os.strerror, _CODES) if x in text), "")


def _unreadable(error: BaseException) -> str:
    """Why a state could not be read, where that says nothing of the state itself; else ""."""
    for one in _chain(error):
        text = str(one)
        if isinstance(one, MemoryError) or "RESOURCE_EXHAUSTED" in text:
            return f"the memory does not hold it: {_line(one)}"
        own = isinstance(one, OSError) and one.errno in _CODES
        own = own or isinstance(one, (TimeoutError, PermissionError, ConnectionError))
        if own or _answer(text) or any(status in text for status in _STATUSES):
            return _line(one)
    return ""


def _chain(error: BaseException) -> list[BaseException]:
    """An exception, those of its group, and those that it came of."""
    chain, waiting = [], [error]
    while waiting:
        one = waiting.pop(0)
        if one is not None and one not in chain:
            chain.append(one)
            waiting += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
    return chain


def _without_orbax(hook):
    """A hook for exceptions in threads that ignores those of orbax.

    They are raised by reads and writes that still end after one of them has failed, which is
    reported in one line.
    """

    def filtered(args):
        text = "".join(traceback.format_tb(args.exc_traceback)) + str(args.exc_value)
        if "orbax" not in text and "Event loop is closed" not in text:
            hook(args)

    return filtered


def _silence():
    """Silences orbax, asyncio and tensorstore, whose errors become one line. Returns the undo."""
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    levels, hooks = [x.level for x in loggers], (sys.unraisablehook, threading.excepthook)
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    sys.unraisablehook, threading.excepthook = map(_without_orbax, hooks)

    def undo():
        # Their threads end before the hooks are restored.
        gc.collect()
        sys.unraisablehook, threading.excepthook = hooks
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)

    return undo
