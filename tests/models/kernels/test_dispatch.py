"""The target of the backend chooses the kernels, also of functions that are jitted already."""

import jax
import jax.numpy as jnp
import pytest

from audioldm2_jax import backend
from audioldm2_jax.models.kernels import dispatch

CASES = {
    "conv": (dispatch.conv, (2, 16, 8, 64), (3, 3, 64, 64)),
    "few outputs": (dispatch.conv, (2, 16, 8, 64), (3, 3, 64, 2)),
    "conv_transpose": (
        lambda x, kernel: dispatch.conv_transpose(x, kernel, stride=2, padding=1),
        (2, 9, 6),
        (4, 6, 4),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_one_function_two_targets(name):
    """Accelerators get XLA's convolution, the CPU products of matrices, in any order of tracing."""
    function, *shapes = CASES[name]
    function, arguments = jax.jit(function), [jnp.zeros(shape) for shape in shapes]
    for platform in ("cpu", "tpu", "cpu", "gpu"):
        with backend.targeting(platform):
            program = function.lower(*arguments).as_text()
        assert ("stablehlo.convolution" in program) == (platform != "cpu"), platform
