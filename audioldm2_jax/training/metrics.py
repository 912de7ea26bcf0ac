"""What a run tells: lines on the console, JSON lines, TensorBoard; speed and utilisation."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import jax

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
        self.begin, self.waited, self.steps = time.perf_counter(), 0.0, 0

    def wait(self, make):
        """Calls `make` and counts its time as waiting."""
        begin = time.perf_counter()
        found = make()
        self.waited += time.perf_counter() - begin
        return found

    def report(self, batch: int, flops: float | None) -> dict:
        """clips and seconds of a step, the share that waited; utilisation where it is known.

        flops: of one step on one device.
        """
        seconds = max(time.perf_counter() - self.begin, 1e-9)
        found = {
            "clips/s": batch * self.steps / seconds,
            "step s": seconds / max(1, self.steps),
            "waiting": self.waited / seconds,
        }
        if flops:
            rate = flops * self.steps / seconds
            found["TFLOP/s/device"] = rate / 1e12
            if limit := peak(jax.devices()[0].device_kind):
                found["utilisation"] = rate / limit
        self.restart()
        return found


class Writer:
    """Scalars of the main process; others write nothing."""

    def __init__(self, workdir: Path, *, main: bool, quiet: bool):
        self._quiet, self._main, self._board, self._lines = quiet, main, None, None
        if main:
            from tensorboardX import SummaryWriter

            self._board = SummaryWriter(str(workdir / "tensorboard"))
            self._lines = open(workdir / "metrics.jsonl", "a", encoding="utf-8")

    def write(self, step: int, values: dict[str, float]) -> None:
        if not self._main:
            return
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        self._lines.write(json.dumps({"step": step} | values) + "\n")
        self._lines.flush()
        if not self._quiet:
            shown = (f"{name} {value:.4g}" for name, value in values.items())
            print(f"step {step}: {', '.join(shown)}", file=sys.stderr)

    def say(self, text: str) -> None:
        if self._main and not self._quiet:
            print(text, file=sys.stderr)

    def close(self) -> None:
        if self._main:
            self._board.close()
            self._lines.close()
