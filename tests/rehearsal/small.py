"""A small program whose compiled text for an H100 is recorded beside it, in `small_h100.txt`.

Record again:  PYTHONPATH=. JAX_PLATFORMS=cpu python tests/rehearsal/small.py   (make gpu-aot's)
"""

from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from audioldm2_jax.rehearsal.chips import devices_of

RECORDED = Path(__file__).with_name("small_h100.txt")
CLIPS, HEIGHT, WIDTH, CHANNELS, HEADS, STEPS = 2, 16, 8, 64, 2, 3


def small(image, conv, dense):
    """A convolution, then a loop of attention and a product. image: [B, H, W, C]."""
    layout = ("NHWC", "HWIO", "NHWC")
    x = jax.lax.conv_general_dilated(image, conv, (1, 1), "SAME", dimension_numbers=layout)
    x = x.reshape(CLIPS, -1, CHANNELS)

    def step(x, _):
        heads = x.reshape(*x.shape[:2], HEADS, -1)
        x = x + jax.nn.dot_product_attention(heads, heads, heads, implementation="cudnn").reshape(
            x.shape
        )
        return jnp.tanh(x @ dense), None

    return jax.lax.scan(step, x, None, length=STEPS)[0].mean(1)


def compile_small() -> str:
    """The text for an H100, without what names this machine's folders."""
    place = SingleDeviceSharding(devices_of("h100")[0])
    shapes = (CLIPS, HEIGHT, WIDTH, CHANNELS), (3, 3, CHANNELS, CHANNELS), (CHANNELS, CHANNELS)
    arguments = (jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=place) for shape in shapes)
    text = jax.jit(small).lower(*arguments).compile().as_text()
    return text.replace(f"{Path(__file__).parent}/", "tests/rehearsal/")


if __name__ == "__main__":
    RECORDED.write_text(compile_small())
