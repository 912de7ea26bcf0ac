"""Optional dependencies: which packages a command needs beyond those of inference."""

from __future__ import annotations

import importlib.util

from audioldm2_jax.errors import InputError

# Modules by extra of pyproject.toml.
MODULES = {
    "train": (
        "array_record",
        "grain",
        "ml_collections",
        "optax",
        "orbax",
        "pyarrow",
        "tensorboardX",
        "tensorflow_datasets",
    ),
    "eval": ("librosa", "onnxruntime", "pocketsphinx", "speechmos", "swift_f0"),
}


def require(extra: str) -> None:
    """Raises InputError, with the line that installs it, if a package of an extra is missing."""
    for name in MODULES[extra]:
        if importlib.util.find_spec(name) is None:
            raise InputError(f"{name} is not installed: pip install 'audioldm2-jax[{extra}]'")
