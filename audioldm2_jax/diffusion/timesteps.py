"""The timesteps that a sampler visits: how many, how spaced, where to start (arXiv 2305.08891)."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import ScheduleConfig

SPACINGS = ("leading", "trailing", "linspace")


@dataclasses.dataclass(frozen=True)
class Timesteps:
    """Which training timesteps a sampler visits; either `count` or `values` is given.

    count: steps of the whole grid, from noise to the clip. spacing: one of SPACINGS; None is the
    scheduler file's own. values: the grid itself, descending, for models distilled to few steps.
    strength: share of the grid that runs, as in diffusers' image-to-image: its last
    int(count * strength) steps. At 1 all run, from noise alone; less starts in the middle, from a
    clip with the noise of that step (`samplers.noise_to_start`).
    """

    count: int | None = None
    spacing: str | None = None
    values: tuple[int, ...] | None = None
    strength: float = 1.0

    @property
    def total(self) -> int:
        """Steps of the whole grid."""
        return self.count if self.values is None else len(self.values)

    @property
    def begin(self) -> int:
        """Index of the first step that runs."""
        return self.total - int(self.total * self.strength)

    def check(self, train_steps: int) -> None:
        """Raises InputError, naming the field, for a grid that training has not."""
        if (self.count is None) == (self.values is None):
            raise InputError("Timesteps takes either a count of steps or their values")
        if self.values is not None:
            self._check_values(train_steps)
        elif not _is_whole(self.count) or not 1 <= self.count <= train_steps:
            raise InputError(
                f"steps is {self.count}: it must be an integer from 1 to {train_steps}"
            )
        if self.spacing not in (None, *SPACINGS):
            raise InputError(f"spacing is {self.spacing!r}: it must be one of {' '.join(SPACINGS)}")
        if not 0.0 < self.strength <= 1.0:
            raise InputError(f"strength is {self.strength}: it must be above 0 and at most 1")
        if self.begin == self.total:
            least = math.ceil(1e5 / self.total) / 1e5
            raise InputError(
                f"strength is {self.strength}: of {self.total} steps it runs none; take at least "
                f"{least:g}"
            )

    def _check_values(self, train_steps: int) -> None:
        values = self.values
        if self.spacing is not None:
            raise InputError(f"spacing is {self.spacing!r}: timesteps given by value have none")
        if not values or not all(_is_whole(t) and 0 <= t < train_steps for t in values):
            raise InputError(
                f"timesteps are {values}: they must be integers from 0 to {train_steps - 1}"
            )
        if any(t <= t_next for t, t_next in zip(values, values[1:])):
            raise InputError(f"timesteps are {values}: they must descend")


def _is_whole(value) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def timestep_grid(
    config: ScheduleConfig, timesteps: Timesteps, *, fractional: bool = False
) -> np.ndarray:
    """The whole grid, descending. fractional: whether linspace stays unrounded.

    Raises InputError where the spacing leaves the training range.
    """
    n, steps = config.train_steps, timesteps.total
    dtype = np.float32 if fractional else np.float64
    if timesteps.values is not None:
        return np.asarray(timesteps.values, np.int64)
    if config.timestep_spacing == "leading":
        return _shifted(config, np.arange(steps)[::-1] * (n // steps))
    if config.timestep_spacing == "trailing":
        return _trailing(config, n, steps)
    grid = np.linspace(0, n - 1, steps, dtype=dtype)[::-1]
    return grid if fractional else grid.round().astype(np.int64)


def timestep_grid_but_last(
    config: ScheduleConfig, timesteps: Timesteps, *, last: int
) -> np.ndarray:
    """The grid of DPM-Solver and UniPC: all but the last timestep of a grid of one step more.

    last: how many training steps the grid spans. Raises InputError as `timestep_grid` does.
    """
    steps = timesteps.total
    if timesteps.values is not None:
        return np.asarray(timesteps.values, np.int64)
    if config.timestep_spacing == "trailing":
        return _trailing(config, last, steps)
    if config.timestep_spacing == "leading":
        if steps >= last:  # No step is left out of a grid of every training step.
            return _shifted(config, np.arange(steps)[::-1])
        return _shifted(config, np.arange(steps + 1)[:0:-1] * (last // (steps + 1)))
    return np.linspace(0, last - 1, steps + 1).round()[:0:-1].astype(np.int64)


def _shifted(config, grid) -> np.ndarray:
    """Adds the offset. An offset of 1 is left out of a grid of every training step."""
    top, n, offset = int(grid[0]), config.train_steps, config.steps_offset
    if top == n - 1 and offset == 1:
        return grid
    if top + offset >= n:
        raise InputError(
            f"steps_offset is {offset}: {len(grid)} steps would start at timestep {top + offset}, "
            f"but training ends at {n - 1}; take other steps"
        )
    return grid + offset


def _trailing(config, last: int, steps: int) -> np.ndarray:
    grid = np.arange(last, 0, -config.train_steps / steps).round().astype(np.int64) - 1
    if not len(grid) or grid[-1] < 0:
        # np.arange goes one too far for some numbers, and diffusers with it.
        raise InputError(
            f"steps is {steps}: the trailing spacing leaves the {config.train_steps} training "
            "steps; take other steps"
        )
    return grid
