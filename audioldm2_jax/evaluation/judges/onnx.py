"""Networks in ONNX files, by onnxruntime on the CPU."""

from __future__ import annotations

import functools
from pathlib import Path

from audioldm2_jax.errors import InputError


@functools.cache
def session(path: Path):
    """An onnxruntime session of a file. Raises InputError if the package is missing."""
    try:
        import onnxruntime
    except ImportError:
        raise InputError(
            "onnxruntime is not installed: pip install 'audioldm2-jax[eval]'"
        ) from None
    options = onnxruntime.SessionOptions()
    # Threads that wait for work would take the time of decoding and of other networks.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
