"""Progress of a run on stderr: timed messages, then a bar or lines of metrics."""

from __future__ import annotations

import sys
import time

from audioldm2_jax.log import timed_message


class Console:
    """On a terminal a bar with loss, clips a second and time left; elsewhere lines of the metrics.

    quiet: prints nothing.
    """

    # Seconds between two looks at the loss, for each waits for the device.
    EVERY = 1.0

    def __init__(self, *, quiet: bool):
        self.quiet, self._bar, self._begin, self._first, self._total = quiet, None, 0.0, 0, 0
        self._looked = 0.0

    def log(self, text: str) -> None:
        """One line."""
        if not self.quiet:
            self._print(text)

    def _print(self, text: str) -> None:
        if self._bar is None:
            print(text, file=sys.stderr, flush=True)
        else:
            self._bar.write(text, file=sys.stderr)

    def timed(self, text: str):
        """A context that prints the text, then the seconds that the block takes."""
        return timed_message(text, not self.quiet)

    def begin(self, stage: str, first: int, total: int) -> None:
        """The steps begin. first: of this process; total: of the run."""
        self._begin, self._first, self._total = time.perf_counter(), first, total
        if not self.quiet and sys.stderr.isatty():
            from tqdm import tqdm

            options = {"initial": first, "unit": "step", "dynamic_ncols": True, "file": sys.stderr}
            self._bar = tqdm(total=total, desc=stage, **options)

    def advance(self, loss, batch: int) -> None:
        """A step is done. loss: of this step, on the device, which is looked at now and then."""
        if self._bar is None:
            return
        now = time.perf_counter()
        if now - self._looked > self.EVERY:
            rate = batch * (self._bar.n + 1 - self._first) / (now - self._begin)
            self._bar.set_postfix_str(f"loss {float(loss):.4g}, {rate:.3g} clips/s", refresh=False)
            self._looked = now
        self._bar.update()

    def step(self, step: int, values: dict[str, float]) -> None:
        """Metrics of a step, with the time left; the bar shows what lines would."""
        if self.quiet:
            return
        text = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        self._print(f"step {step}: {text}{self._left(step)}")

    def _left(self, step: int) -> str:
        if self._bar is not None or not self._first < step < self._total:
            return ""
        seconds = (time.perf_counter() - self._begin) / (step - self._first) * (self._total - step)
        minutes, seconds = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        return f", {hours}:{minutes:02}:{seconds:02} left"

    def close(self) -> None:
        """Removes the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
