"""Choosing the device of a command, before JAX starts its backends."""

from __future__ import annotations

import os

from audioldm2_jax.errors import InputError

_PLATFORMS = {"auto": None, "cpu": "cpu", "gpu": "cuda", "cuda": "cuda", "tpu": "tpu"}


def add_device(parser) -> None:
    """The official -d flag."""
    parser.add_argument("-d", "--device", default="auto", help="auto, cpu, gpu (or cuda), tpu")


def use_device(name: str) -> None:
    """Restricts JAX to a platform. Raises InputError if it is unknown or absent."""
    if name not in _PLATFORMS:
        raise InputError(f"unknown device {name!r}: choose one of {' '.join(_PLATFORMS)}")
    import jax

    if platform := _PLATFORMS[name]:
        os.environ["JAX_PLATFORMS"] = platform
        jax.config.update("jax_platforms", platform)
    try:
        jax.devices()
    except RuntimeError as error:
        line = str(error).strip().splitlines()[0]
        raise InputError(
            f"device {name}: not available here ({line}); install the extra for it, such as "
            "audioldm2-jax[cuda], or use -d cpu"
        ) from None
