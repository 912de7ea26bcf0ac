"""flax's linear layer and embedding, whose weights may be of `models.int8`."""

from __future__ import annotations

from typing import Any

import flax.linen as nn

from audioldm2_jax.models.int8 import is_quantized, quantized_product, quantized_rows
from audioldm2_jax.models.kernels.dispatch import dot_general


class Dense(nn.Dense):
    """`nn.Dense` whose product is chosen by the backend. x: [..., I] -> [..., features]."""

    dot_general: Any = dot_general

    @nn.compact
    def __call__(self, x):
        kernel = self.get_variable("params", "kernel")
        if not is_quantized(kernel):
            return super().__call__(x)
        dtype = self.dtype or x.dtype
        y = quantized_product(x.astype(dtype), kernel)
        if not self.use_bias:
            return y
        return y + self.get_variable("params", "bias").astype(dtype)


class Embed(nn.Embed):
    """`nn.Embed`. tokens: [B, L] -> [B, L, features]."""

    def __call__(self, tokens):
        if not is_quantized(self.embedding):
            return super().__call__(tokens)
        return quantized_rows(self.embedding, tokens, self.dtype)
