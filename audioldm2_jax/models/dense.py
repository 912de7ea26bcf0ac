"""The one seam for layers that multiply by a matrix: flax's, with gradients that suit the CPU."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax

from audioldm2_jax import backend


def product(x, kernel, dimension_numbers, precision=None, **options):
    """`jax.lax.dot_general` of x: [..., I] and kernel: [I, O], as `nn.Dense` asks for it."""
    if backend.current().cpu_kernels and not options and precision is None:
        return _product(x, kernel)
    return jax.lax.dot_general(x, kernel, dimension_numbers, precision, **options)


Dense = functools.partial(nn.Dense, dot_general=product)


@jax.custom_vjp
def _product(x, kernel):
    return x @ kernel


def _forward(x, kernel):
    return x @ kernel, (x, kernel)


def _backward(kept, slope):
    """The slope is made in memory first: fused with what made it, the kernel's gradient would have
    it written turned, at many times the cost.
    """
    x, kernel = kept
    slope = jax.lax.optimization_barrier(slope)
    change = x.reshape(-1, x.shape[-1]).T @ slope.reshape(-1, slope.shape[-1])
    return slope @ kernel.T, change


_product.defvjp(_forward, _backward)
