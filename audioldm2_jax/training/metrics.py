"""Metrics of a run: console, JSON lines, TensorBoard, wandb; speed and utilisation."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

import jax

from audioldm2_jax import files
from audioldm2_jax.errors import InputError
from audioldm2_jax.loudness import normalize_loudness
from audioldm2_jax.pictures import mel_picture
from audioldm2_jax.training.board import Board
from audioldm2_jax.training.console import Console

# Peak bf16 products of one chip, FLOP/s, by the start of its name (makers' data sheets).
PEAKS = {
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5p": 459e12,
    "TPU v5": 459e12,
    "TPU v6": 918e12,
    "NVIDIA A100": 312e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H200": 989e12,
}


def peak(kind: str) -> float | None:
    """Peak FLOP/s of a kind of device; None where it is not known, as for CPUs."""
    return next((value for name, value in PEAKS.items() if kind.startswith(name)), None)


class Clock:
    """Time since the last report, split into waiting for data and the rest."""

    def __init__(self):
        self.restart()

    def restart(self) -> None:
        """Starts a new interval without steps."""
        self.start, self.waited, self.steps = time.perf_counter(), 0.0, 0

    def wait(self, make):
        """Calls `make` and counts its time as waiting."""
        start = time.perf_counter()
        result = make()
        self.waited += time.perf_counter() - start
        return result

    def report(self, batch: int, flops: float | None) -> dict:
        """clips and seconds of a step, the share that waited; utilisation where it is known.

        flops: of one step on one device.
        """
        seconds = max(time.perf_counter() - self.start, 1e-9)
        report = {
            "clips/s": batch * self.steps / seconds,
            "step s": seconds / max(1, self.steps),
            "waiting": self.waited / seconds,
        }
        if flops:
            rate = flops * self.steps / seconds
            report["TFLOP/s/device"] = rate / 1e12
            if limit := peak(jax.devices()[0].device_kind):
                report["utilisation"] = rate / limit
        self.restart()
        return report


class Writer:
    """The main process' metrics: console, metrics.jsonl, TensorBoard, wandb on request.

    Use it in `with`; on other processes every method does nothing. wandb: a project's name. Raises
    InputError where the folder cannot be written, at once or later.
    """

    def __init__(
        self, workdir: Path, console: Console, *, main: bool, wandb: str = "", config=None
    ):
        self._main, self._workdir, self._board, self._lines = main, workdir, None, None
        self.console = console
        self._wandb = _open_wandb(wandb, workdir, config) if wandb and main else None
        if main:
            with self._disk():
                self._board = Board(workdir / "tensorboard")
                self._lines = (workdir / "metrics.jsonl").open("a", encoding="utf-8")

    @contextlib.contextmanager
    def _disk(self):
        try:
            yield
        except OSError as error:
            raise files.cannot(self._workdir, "write metrics", error) from None

    def write(self, step: int, values: dict[str, float]) -> None:
        """Scalars of a step."""
        if not self._main:
            return
        if self._wandb:
            self._wandb.log(values, step=step)
        with self._disk():
            self._lines.write(json.dumps({"step": step} | values) + "\n")
            self._lines.flush()
            self._board.scalars(step, values)
        self.console.step(step, values)

    def sound(self, name: str, step: int, wave, rate: int) -> None:
        """A sound, wave: [samples], at the level of written clips, and the picture of its mel."""
        self.picture(name, step, mel_picture(wave, rate))
        if not self._main:
            return
        wave, _ = normalize_loudness(wave, rate)
        with self._disk():
            self._board.sound(name, step, wave, rate)
        if self._wandb:
            import wandb

            self._wandb.log({f"{name} (sound)": wandb.Audio(wave, rate)}, step=step)

    def picture(self, name: str, step: int, picture) -> None:
        """picture: uint8 [H, W, 3]."""
        if not self._main:
            return
        with self._disk():
            self._board.picture(name, step, picture)
        if self._wandb:
            import wandb

            self._wandb.log({name: wandb.Image(picture)}, step=step)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.console.close()
        if self._wandb:
            self._wandb.finish()
        if self._main:
            try:
                with self._disk():
                    self._board.close()
                    self._lines.close()
            except InputError:
                # The first error is the one to tell.
                if kind is None:
                    raise


def _open_wandb(project: str, workdir: Path, config):
    """A wandb run that a resumed training goes on with."""
    try:
        import wandb
    except ImportError:
        raise InputError("wandb is not installed: pip install wandb, or leave it empty") from None
    name = workdir.resolve().name
    return wandb.init(
        project=project, name=name, id=name, resume="allow", dir=str(workdir), config=config
    )
