"""The multi-head attention that every model uses."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from audioldm2_jax import backend
from audioldm2_jax.models.dense import Dense
from audioldm2_jax.models.kernels.dispatch import attend


class Attention(nn.Module):
    """Multi-head attention whose keys and values can be computed once and used many times.

    bias: of query, key and value; out_bias: of the output. scale: None is 1/sqrt(head_width).
    """

    heads: int
    head_width: int
    width: int
    bias: bool = False
    out_bias: bool = True
    scale: float | None = None
    dtype: Any = jnp.float32

    def setup(self):
        inner = self.heads * self.head_width
        self.query = Dense(inner, use_bias=self.bias, dtype=self.dtype)
        self.key = Dense(inner, use_bias=self.bias, dtype=self.dtype)
        self.value = Dense(inner, use_bias=self.bias, dtype=self.dtype)
        self.out = Dense(self.width, use_bias=self.out_bias, dtype=self.dtype)

    def kv(self, context):
        """context: [B, S, D] -> (key, value), each [B, S, N, H]."""
        key = self.key(context)
        context, key = _apart(context, key)
        return self._split(key), self._split(self.value(context))

    def __call__(self, x, kv=None, *, mask=None, bias=None):
        """x: [B, L, D] -> [B, L, width].

        kv: keys and values from `kv()`; None is self-attention. mask, bias: as of `attend`.
        """
        key, value = self.kv(x) if kv is None else kv
        if kv is None:
            x, value = _apart(x, value)
        query = self._split(self.query(x))
        out = attend(query, key, value, mask=mask, bias=bias, scale=self.scale)
        return self.out(out.reshape(*out.shape[:2], -1))

    def _split(self, x):
        return x.reshape(*x.shape[:-1], self.heads, self.head_width)


def _apart(x, product):
    """Both as they are; on a GPU, the next product of x is not merged with this one.

    XLA would concatenate the matrices in every step, and copy the parts of the result.
    """
    if not backend.current().is_gpu:
        return x, product
    return jax.lax.optimization_barrier((x, product))
