"""Weights of linear layers and embeddings in eight bits, for inference.

A matrix is stored as `{"int8": q, "scale": s}` in place of its array. Scales are symmetric: each
output channel of a kernel [I, O], and each row of an embedding [V, D], has the scale max|w| / 127.
Products multiply activations by q, which fp32 and bf16 hold exactly, and scale the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax.errors import InputError

# Parts whose weights a model reads once for a request. The U-Net and the decoders keep theirs: they
# bound the sound's quality, and their convolutions would gain little.
PARTS = ("clap", "t5", "gpt2")
# What `quantize` options take beside None.
KINDS = ("int8",)


def check_quantize(kind: str | None) -> None:
    """Raises InputError for a name that is no kind of quantisation."""
    if kind is not None and kind not in KINDS:
        raise InputError(f"quantize {str(kind)[:40]!r}: choose one of {' '.join(KINDS)}")


def quantizes(part: str, kind: str | None) -> bool:
    """Whether a kind of quantisation changes a part of a model."""
    return kind is not None and part in PARTS


def quantize_in_place(params: dict) -> None:
    """Replaces kernels and embeddings of tokens by their eight bits, one after another.

    params: of one part, arrays or their shapes.
    """
    for name, value in params.items():
        if isinstance(value, dict):
            if "embedding" in value and name == "tokens":
                value["embedding"] = quantize(value["embedding"], axis=1)
            quantize_in_place(value)
        elif name == "kernel" and value.ndim == 2:
            params[name] = quantize(value, axis=0)


def quantize(matrix, *, axis: int) -> dict[str, jax.Array]:
    """{"int8": [I, O], "scale": fp32} of a matrix [I, O]; a scale holds along `axis`."""
    if isinstance(matrix, jax.ShapeDtypeStruct):
        return jax.eval_shape(lambda: _zeros(matrix.shape, axis))
    matrix = np.asarray(matrix, np.float32)
    scale = np.abs(matrix).max(axis) / np.float32(127)
    # A row of zeros stays zeros.
    steps = np.where(scale > 0, scale, 1)
    quotient = matrix / np.expand_dims(steps, axis)
    return {"int8": jnp.asarray(np.rint(quotient).astype(np.int8)), "scale": jnp.asarray(scale)}


def _zeros(shape, axis: int) -> dict[str, jax.Array]:
    return {"int8": jnp.zeros(shape, jnp.int8), "scale": jnp.zeros(shape[1 - axis])}


def is_quantized(weight: Any) -> bool:
    """Whether a parameter is of `quantize`."""
    return isinstance(weight, Mapping)


def quantized_product(x, kernel: Mapping) -> jax.Array:
    """x: [..., I] and a quantised kernel [I, O] -> [..., O] in the dtype of x."""
    y = jnp.dot(x, kernel["int8"].astype(x.dtype), preferred_element_type=jnp.float32)
    return (y * kernel["scale"]).astype(x.dtype)


def quantized_rows(embedding: Mapping, tokens, dtype) -> jax.Array:
    """Rows of a quantised embedding [V, D]. tokens: [B, L] -> [B, L, D]."""
    rows = embedding["int8"][tokens] * embedding["scale"][tokens][..., None]
    return rows.astype(dtype)
