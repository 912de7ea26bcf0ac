"""Gradients of plain convolutions on the CPU: the library's, in the library's layout."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioldm2_jax import backend
from audioldm2_jax.models.kernels import dispatch

CASES = [
    {"window": (3, 3), "size": (9, 6)},
    {"window": (3, 3), "size": (9, 6), "strides": (2, 2), "padding": ((0, 1), (0, 1))},
    {"window": (4, 4), "size": (9, 6), "strides": (2, 2), "padding": ((1, 1), (1, 1))},
    {"window": (2, 1), "size": (7, 5), "strides": (3, 2), "padding": ((0, 0), (0, 0))},
    {"window": (1, 1), "size": (4, 4)},
    {"window": (7,), "size": (20,), "dilation": (3,)},
    {"window": (5,), "size": (20,), "strides": (4,), "padding": ((3, 0),)},
    {"window": (4,), "size": (21,), "strides": (2,), "padding": ((2, 3),), "dilation": (2,)},
]


def draw(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_the_librarys(case):
    case = dict(case)
    window, size = case.pop("window"), case.pop("size")
    x, kernel = draw(0, 2, *size, 5), draw(1, *window, 5, 6)

    def gradients():
        y, back = jax.vjp(lambda x, kernel: dispatch.conv(x, kernel, **case), x, kernel)
        return y, *back(draw(2, *y.shape))

    ours = gradients()
    with backend.targeting("gpu"):
        theirs = gradients()
    for value, expected in zip(ours, theirs):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kernel", [(3, 3, 16, 24), (7, 16, 24)])
def test_in_a_loop_the_library_takes_them(kernel):
    """Other layouts would be computed by XLA's own loops, ten times as long."""
    kernel = draw(0, *kernel)
    micros = jnp.zeros((3, 2, *(16 for _ in kernel.shape[:-2]), 16))

    def loss(kernel, x):
        return jnp.square(dispatch.conv(dispatch.conv(x, kernel)[..., :16], kernel)).sum()

    def total(kernel, micros):
        grad = jax.grad(loss)
        return jax.lax.scan(lambda t, x: (t + grad(kernel, x), None), kernel, micros)[0]

    compiled = jax.jit(total).lower(kernel, micros).compile().as_text()
    labels = set(re.findall(r"dim_labels=(\S+?)[,\s]", compiled))
    space = "01"[: kernel.ndim - 2]
    assert labels == {f"b{space}f_{space}io->b{space}f"}
