"""Helpers of the configuration readers."""

from __future__ import annotations

from typing import Any

from audioldm2_jax.errors import InputError

# The version whose format we write.
DIFFUSERS = "0.42.0"


def require(config: dict, where: str, **expected):
    """Every named field is absent or has the one value that is implemented."""
    for name, value in expected.items():
        found = config.get(name, value)
        found = list(found) if isinstance(found, (list, tuple)) else found
        if found != value:
            raise InputError(f"{where}: {name} is {found!r}; only {value!r} is supported")


def levels(value, count: int, where: str, name: str) -> tuple:
    """One value for each level: given once, or as a list of the right length."""
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,) * count
    if len(values) != count:
        raise InputError(f"{where}: {name} has {len(values)} entries for {count} levels")
    return values


def filled(name: str, config: dict) -> Any:
    """A transformers configuration with its class's defaults filled in."""
    import transformers

    ignored = ("architectures", "model_type", "transformers_version", "torch_dtype", "dtype")
    return getattr(transformers, name)(**{k: v for k, v in config.items() if k not in ignored})
