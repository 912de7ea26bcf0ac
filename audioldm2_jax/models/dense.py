"""`nn.Dense` whose product is chosen by the backend."""

from __future__ import annotations

import functools

import flax.linen as nn

from audioldm2_jax.models.kernels.dispatch import dot_general

Dense = functools.partial(nn.Dense, dot_general=dot_general)
