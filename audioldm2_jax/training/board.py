"""TensorBoard's events, written at once: what the disk answers reaches the run, not a thread."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np


class Board:
    """An events file in `folder`. Every method raises OSError where it cannot be written."""

    def __init__(self, folder: Path):
        from tensorboardX.event_file_writer import EventsWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._file = EventsWriter(str(folder / "events"))
        self._file.flush()

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Writes values by name."""
        from tensorboardX import summary

        for name, value in values.items():
            self._add(summary.scalar(name, value), step)
        self._file.flush()

    def picture(self, name: str, step: int, picture: np.ndarray) -> None:
        """picture: uint8 [H, W, 3]."""
        from tensorboardX import summary

        self._add(summary.image(name, picture, dataformats="HWC"), step)
        self._file.flush()

    def sound(self, name: str, step: int, wave: np.ndarray, rate: int) -> None:
        """wave: [samples], from -1 to 1; rate in Hz."""
        from tensorboardX import summary

        self._add(summary.audio(name, wave[:, None], rate), step)
        self._file.flush()

    def _add(self, content, step: int) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._file.write_event(Event(wall_time=time.time(), step=step, summary=content))

    def close(self) -> None:
        """Closes the event file."""
        self._file.close()
