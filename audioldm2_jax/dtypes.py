"""The dtypes of weights and activations, by name."""

from __future__ import annotations

import jax.numpy as jnp

from audioldm2_jax import backend
from audioldm2_jax.errors import InputError

DTYPES = {
    "fp32": jnp.float32,
    "float32": jnp.float32,
    "bf16": jnp.bfloat16,
    "bfloat16": jnp.bfloat16,
}


def parse_dtype(name):
    """The JAX dtype of a name or of a dtype; None is the backend's own.

    Raises InputError for what is not float32 or bfloat16.
    """
    if name is None:
        return backend.current().dtype
    if isinstance(name, str):
        if name not in DTYPES:
            raise InputError(f"unknown dtype {name!r}: choose one of {' '.join(DTYPES)}")
        return DTYPES[name]
    try:
        dtype = jnp.dtype(name)
    except (TypeError, ValueError):
        raise InputError(f"dtype is {str(name)[:40]!r}: choose one of {' '.join(DTYPES)}") from None
    if dtype not in (jnp.dtype(jnp.float32), jnp.dtype(jnp.bfloat16)):
        raise InputError(f"dtype {dtype.name} is not supported: float32 or bfloat16")
    return jnp.float32 if dtype == jnp.float32 else jnp.bfloat16
