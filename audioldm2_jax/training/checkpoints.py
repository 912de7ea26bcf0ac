"""Training state on disk, by orbax: saved beside the run, restored onto any mesh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies
from orbax.checkpoint import type_handlers

from audioldm2_jax.errors import InputError

# Replicas write large arrays in slices, each a program to compile; small ones are not worth it.
_SLICED = 1 << 20  # bytes


class Checkpoints:
    """A run's saved states in `folder`: every `every` steps, and when the job is told to end.

    keep: how many of the last; keep_every: steps whose states stay for good, 0 for none.
    """

    def __init__(self, folder, *, every: int, keep: int = 3, keep_every: int = 0):
        kept = [policies.LatestN(keep)]
        if keep_every:
            kept.append(policies.EveryNSteps(keep_every))
        options = ocp.CheckpointManagerOptions(
            save_decision_policy=policies.AnySavePolicy(
                [policies.FixedIntervalPolicy(every), policies.PreemptionCheckpointingPolicy()]
            ),
            preservation_policy=policies.AnyPreservationPolicy(kept),
        )
        arrays = type_handlers.ArrayHandler(min_slice_bytes_for_replica_parallel=_SLICED)
        registry = type_handlers.create_type_handler_registry((jax.Array, arrays))
        handlers = {
            "state": ocp.PyTreeCheckpointHandler(type_handler_registry=registry),
            "data": ocp.JsonCheckpointHandler(),
        }
        self._manager = ocp.CheckpointManager(
            Path(folder).resolve(), options=options, item_handlers=handlers
        )

    @property
    def latest(self) -> int | None:
        """The last saved step; None before the first."""
        return self._manager.latest_step()

    def save(self, step: int, state, data: dict, *, now: bool = False) -> bool:
        """Begins to save if it is due, or `now`; returns whether it did."""
        if step == self.latest or not (now or self._manager.should_save(step)):
            return False
        parts = {"state": ocp.args.PyTreeSave(state), "data": ocp.args.JsonSave(data)}
        return self._manager.save(step, args=ocp.args.Composite(**parts), force=now)

    def restore(self, shapes, shardings) -> tuple[Any, dict]:
        """The last state on these shardings, and the data's. Raises InputError if it differs."""
        like = jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, shardings
        )
        placed = ocp.checkpoint_utils.construct_restore_args(like)
        parts = {"state": ocp.args.PyTreeRestore(like, placed), "data": ocp.args.JsonRestore()}
        try:
            found = self._manager.restore(self.latest, args=ocp.args.Composite(**parts))
        except (ValueError, KeyError) as error:
            line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"{self._manager.directory}: the saved state is of another configuration ({line})"
            ) from None
        return found["state"], found["data"]

    def finish(self) -> None:
        """Waits for what is being written."""
        self._manager.wait_until_finished()
        self._manager.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.finish()
