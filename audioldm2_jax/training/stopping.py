"""Ending a run early with its state saved: SIGTERM, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading

import jax

_TOLD = b"\nCtrl-C: saving after this step; Ctrl-C again ends at once\n"


class Stopping:
    """Whether the job was told to end: by SIGTERM or Ctrl-C, on any of its processes.

    The first Ctrl-C is a wish, once a step has been asked about; before that, and when it comes
    again, it raises KeyboardInterrupt where it comes. Of several processes each passes its first
    one on as SIGTERM, which all of them hear of and stop at the same step.
    """

    def __enter__(self):
        self._told = self._interrupted = self._armed = False
        self._before: dict = {}
        self._alone = jax.process_count() == 1
        if threading.current_thread() is threading.main_thread():
            # With several processes SIGTERM is JAX' own.
            for number in (signal.SIGTERM, signal.SIGINT) if self._alone else (signal.SIGINT,):
                self._before[number] = signal.signal(number, self._tell)
        return self

    def _tell(self, number, _):
        if number == signal.SIGINT:
            # One process that ends by itself would leave the others waiting for it.
            if self._interrupted or (self._alone and not self._armed):
                raise KeyboardInterrupt
            self._interrupted = True
            os.write(2, _TOLD)
            if not self._alone:
                os.kill(os.getpid(), signal.SIGTERM)
        self._told = True

    def asked(self, step: int) -> bool:
        """After each step. step: of the run, by which all processes agree, with orbax too."""
        self._armed = True
        if self._alone:
            return self._told
        from jax.experimental import multihost_utils

        return multihost_utils.reached_preemption_sync_point(step)

    def end(self) -> None:
        """Raises KeyboardInterrupt after a Ctrl-C, when all is saved."""
        if self._interrupted:
            raise KeyboardInterrupt

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)
