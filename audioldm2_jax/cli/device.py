"""Selects the device of a command before JAX starts its backends."""

from __future__ import annotations

import glob
import os

from audioldm2_jax.cli.help import choices
from audioldm2_jax.errors import InputError

PLATFORMS = {
    "auto": None,
    "cpu": "cpu",
    "gpu": "cuda",
    "cuda": "cuda",
    "rocm": "rocm",
    "tpu": "tpu",
}
_INSTALL = {
    "cuda": "an NVIDIA GPU needs pip install 'audioldm2-jax[cuda]'",
    "rocm": "an AMD GPU needs JAX's plugin for ROCm",
    "tpu": "a TPU needs pip install 'audioldm2-jax[tpu]'",
}


def add_device(parser) -> None:
    """The official -d flag."""
    text = "where to compute; auto takes a TPU or GPU that JAX sees, gpu and cuda are the same"
    parser.add_argument("-d", "--device", default="auto", metavar=choices(PLATFORMS), help=text)


def add_memory(add) -> None:
    """What makes a model smaller; `add` is a parser's `add_argument`."""
    text = (
        "hold the text encoders, the U-Net and the decoders in memory in turn, and compute one "
        "clip after another: the same clips from less memory, more slowly"
    )
    add("--low_memory", action="store_true", help=text)
    text = "int8: hold the matrices of CLAP, T5 and GPT-2 in eight bits; default as --dtype"
    add("--quantize", default=None, metavar=choices(["int8"]), help=text)


def use_device(name: str) -> None:
    """Restricts JAX to a platform. Raises InputError if it is unknown or absent."""
    check_device(name)
    import jax

    platform = PLATFORMS[name]
    if platform:
        os.environ["JAX_PLATFORMS"] = platform
        jax.config.update("jax_platforms", platform)
    elif not glob.glob("/dev/accel*") and not glob.glob("/dev/vfio/*"):
        # Where libtpu is installed without a TPU, it would complain about a lack of these.
        os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5e-1")
        os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    try:
        jax.devices()
    except (RuntimeError, AssertionError, ImportError, OSError) as error:
        # JAX asserts that there is a device where it skipped the only platform it was to try.
        raise InputError(_absent(name, platform, str(error))) from None


def check_device(name: str) -> None:
    """Raises InputError for a name that is no device, without asking JAX."""
    if name not in PLATFORMS:
        # -d is the seconds of `continue`.
        advice = "; -dur is the length" if name.replace(".", "", 1).isdecimal() else ""
        raise InputError(f"unknown device {name!r}: choose one of {' '.join(PLATFORMS)}{advice}")


def _absent(name: str, platform: str | None, reason: str) -> str:
    preset = os.environ.get("JAX_PLATFORMS", "")
    if platform is None and preset:
        return (
            f"JAX_PLATFORMS={preset} is set, and JAX has no such device here; unset it, or choose "
            "with -d"
        )
    reason = " ".join(reason.split())[:160]
    advice = _INSTALL.get(platform, "")
    return (
        f"device {name}: not available here{f' ({reason})' if reason else ''}; "
        f"{f'{advice}; ' if advice else ''}-d cpu always works"
    )
