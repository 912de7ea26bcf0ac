"""Ending a run early with its state saved: SIGTERM, and Ctrl-C."""

from __future__ import annotations

import signal
import threading

import jax


class Stopping:
    """Whether the job was told to end: by SIGTERM, on any of its processes, or by Ctrl-C.

    The first Ctrl-C is a wish, once a step has been asked about; before that, and when it comes
    again, it raises KeyboardInterrupt where it comes.
    """

    def __enter__(self):
        self._told = self._interrupted = self._armed = False
        self._before: dict = {}
        self._step = 0
        if jax.process_count() == 1 and threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._tell)
        return self

    def _tell(self, number, _):
        if number == signal.SIGINT:
            if not self._armed or self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True
        self._told = True

    def asked(self) -> bool:
        """After each step."""
        self._armed = True
        if jax.process_count() == 1:
            return self._told
        from jax.experimental import multihost_utils

        self._step += 1
        return multihost_utils.reached_preemption_sync_point(self._step)

    def end(self) -> None:
        """Raises KeyboardInterrupt after a Ctrl-C, when all is saved."""
        if self._interrupted:
            raise KeyboardInterrupt

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)
