"""Ending a run early with its state saved: SIGTERM, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading

import jax

_MESSAGE = b"\nCtrl-C: saving after this step; Ctrl-C again ends at once\n"


class Stopping:
    """Whether the job must stop: after SIGTERM or Ctrl-C on any of its processes.

    The first Ctrl-C is a request once `requested` has been called. Before that, and the second
    time, it raises KeyboardInterrupt at once. With several processes, each passes its first one on
    as SIGTERM, so that all of them stop at the same step.
    """

    def __enter__(self):
        self._requested = self._interrupted = self._armed = False
        self._before: dict = {}
        self._alone = jax.process_count() == 1
        if threading.current_thread() is threading.main_thread():
            # With several processes SIGTERM is JAX' own.
            for number in (signal.SIGTERM, signal.SIGINT) if self._alone else (signal.SIGINT,):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def _handle(self, number, _):
        if number == signal.SIGINT:
            # One process that ends by itself would leave the others waiting for it.
            if self._interrupted or (self._alone and not self._armed):
                raise KeyboardInterrupt
            self._interrupted = True
            os.write(2, _MESSAGE)
            if not self._alone:
                os.kill(os.getpid(), signal.SIGTERM)
        self._requested = True

    def requested(self, step: int) -> bool:
        """After each step. step: of the run, by which all processes agree, with orbax too."""
        self._armed = True
        if self._alone:
            return self._requested
        from jax.experimental import multihost_utils

        return multihost_utils.reached_preemption_sync_point(step)

    def end(self) -> None:
        """Raises KeyboardInterrupt after a Ctrl-C, when all is saved."""
        if self._interrupted:
            raise KeyboardInterrupt

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)
