"""The text of compiled programs: shapes, loops, sources, FLOPs and bytes by closed forms."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from audioldm2_jax import backend
from audioldm2_jax.models.layers import FeedForward
from audioldm2_jax.rehearsal import hlo
from audioldm2_jax.rehearsal.kernels import read_kernels
from audioldm2_jax.rehearsal.report import collective_figures


def lowered(function, *shapes):
    """Its lowering for shapes of bf16."""
    return jax.jit(function).lower(*(jax.ShapeDtypeStruct(s, jnp.bfloat16) for s in shapes))


def flops(program) -> float:
    kernels = read_kernels(hlo.parse(program.as_text(dialect="hlo"))).kernels
    return sum(kernel.flops * kernel.count for kernel in kernels)


def test_a_product():
    program = lowered(lambda x, w: jnp.einsum("bld,bdh->blh", x, w), (3, 20, 7), (3, 7, 11))
    assert flops(program) == 2 * 3 * 20 * 7 * 11 == program.cost_analysis()["flops"]


@pytest.mark.parametrize(
    "settings",
    [
        {"window_strides": (1, 1), "padding": ((0, 0), (0, 0))},
        {"window_strides": (1, 1), "padding": ((1, 1), (2, 0))},
        {"window_strides": (2, 3), "padding": "SAME", "rhs_dilation": (2, 1)},
        {"window_strides": (1, 1), "padding": ((2, 1), (1, 1)), "lhs_dilation": (2, 3)},
        {"window_strides": (1, 1), "padding": "SAME", "feature_group_count": 2},
    ],
)
def test_a_convolution(settings):
    """As XLA counts on its own program: products with the padding do not count."""

    def convolve(x, w):
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, w, dimension_numbers=layout, **settings)

    inputs = 4 // settings.get("feature_group_count", 1)
    program = lowered(convolve, (2, 16, 9, 4), (3, 3, inputs, 6))
    assert flops(program) == program.cost_analysis()["flops"] > 0
    if settings["padding"] == ((0, 0), (0, 0)):
        assert flops(program) == 2 * (2 * 14 * 7 * 6) * (3 * 3 * 4)


def test_a_loop_counts_with_its_trips():
    def power(x, w):
        return jax.lax.scan(lambda x, _: (x @ w, None), x, None, length=5)[0]

    program = lowered(power, (8, 16), (16, 16))
    assert flops(program) == 5 * 2 * 8 * 16 * 16
    compiled = read_kernels(hlo.parse(program.compile().as_text()))
    assert compiled.unknown_loops == 0
    assert [k.count for k in compiled.kernels if k.flops] == [5]


def test_a_kernel_names_its_source():
    program = lowered(lambda x, w: jnp.tanh(x @ w), (8, 16), (16, 16)).compile()
    (product,) = [k for k in read_kernels(hlo.parse(program.as_text())).kernels if k.flops]
    place, _, line = product.source.rpartition(":")
    assert place == __file__ and "dot_general" in product.op_name
    assert "x @ w" in Path(__file__).read_text().splitlines()[int(line) - 1]


PROGRAM = """
HloModule jit_f, is_scheduled=true

%fused (p: bf16[8,64], i: s32[]) -> bf16[1,64] {
  %p = bf16[8,64]{1,0} parameter(0)
  %i = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %row = bf16[1,64]{1,0} dynamic-slice(%p, %i, %zero), dynamic_slice_sizes={1,64}
}

%written (q: f32[9,64], v: f32[1,64], j: s32[]) -> f32[9,64] {
  %q = f32[9,64]{1,0} parameter(0)
  %v = f32[1,64]{1,0} parameter(1)
  %j = s32[] parameter(2)
  %nothing = s32[] constant(0)
  ROOT %update = f32[9,64]{1,0} dynamic-update-slice(%q, %v, %j, %nothing)
}

ENTRY %main (x: bf16[8,64], n: s32[], q: f32[9,64], v: f32[1,64]) -> f32[9,64] {
  %x = bf16[8,64]{1,0} parameter(0)
  %n = s32[] parameter(1)
  %q.1 = f32[9,64]{1,0} parameter(2)
  %v.1 = f32[1,64]{1,0} parameter(3)
  %fast = (bf16[8,64]{1,0:T(8,128)S(1)}, bf16[8,64]{1,0}, u32[]{:S(2)}) copy-start(%x)
  %done = bf16[8,64]{1,0:T(8,128)S(1)} copy-done(%fast)
  %a = bf16[1,64]{1,0} fusion(%x, /*index=1*/%n), kind=kLoop, calls=%fused
  %b = f32[8,64]{1,0} all-reduce(f32[8,64]{1,0} %u), replica_groups={}, to_apply=%fused
  %c = (bf16[4]{0}, bf16[64]{0}) all-gather-start(bf16[4]{0} %y), dimensions={0}
  %d = bf16[64]{0} all-gather-done((bf16[4]{0}, bf16[64]{0}) %c)
  %e = f32[] all-reduce(f32[] %z)
  %f = (f32[4]{0:T(128)}, f32[2,2]{1,0}) all-reduce(f32[4]{0} %u, f32[2,2]{1,0} %w)
  ROOT %g = f32[9,64]{1,0} fusion(%q.1, %v.1, %n), kind=kLoop, calls=%written
}
"""


def test_bytes_of_slices_and_of_memory_on_the_core():
    kernels = {k.name: k for k in read_kernels(hlo.parse(PROGRAM)).kernels}
    assert kernels["fast"].category == "copy" and kernels["fast"].bytes == 8 * 64 * 2
    assert kernels["a"].category == "indexing" and kernels["a"].bytes == 2 * 64 * 2 + 4
    assert kernels["g"].bytes == 2 * 64 * 4 + 4
    assert "done" not in kernels and "d" not in kernels


def test_collectives_are_read_off():
    assert collective_figures(read_kernels(hlo.parse(PROGRAM))) == {
        "all-reduce": {"count": 3, "GB": pytest.approx((8 * 64 * 4 + 4 + 32) / 1e9)},
        "all-gather": {"count": 1, "GB": pytest.approx(128e-9)},
    }


def test_a_text_without_an_entry():
    with pytest.raises(ValueError, match="ENTRY"):
        hlo.parse("HloModule nothing\n")


def test_the_source_is_the_layer_and_not_the_kernel():
    layer = FeedForward(8, gated=True, dtype=jnp.bfloat16)
    params = jax.eval_shape(layer.init, jax.random.key(0), jnp.ones((1, 4, 8)))
    with backend.targeting("gpu"):
        program = jax.jit(layer.apply).lower(params, jnp.ones((1, 4, 8)))
    text = program.as_text(dialect="hlo", debug_info=True)
    products = [k for k in read_kernels(hlo.parse(text)).kernels if k.flops]
    assert len(products) == 3
    for product in products:
        assert "audioldm2_jax/models/layers.py:" in product.source
