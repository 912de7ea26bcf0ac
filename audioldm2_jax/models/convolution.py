"""The one seam for convolutions: how each is computed on the backend at hand.

On the CPU a 3x3 convolution runs as Winograd F(2x2, 3x3) (Lavin and Gray, arXiv 1509.09308) when
its kernel was transformed at load time, and a transposed convolution as a matrix product with
overlap-add; elsewhere both are left to the compiler's own library.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

# Kernel transform G of F(2, 3); the input and output transforms are sums, written out below.
_KERNEL_TRANSFORM = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)
# Below this many tiles one batched product beats sixteen products (measured on two AVX2 cores).
_FEW_TILES = 64


def conv(x, kernel, *, strides=None, padding=None, dilation=None) -> jax.Array:
    """Convolution, channels last. x: [B, *space, I], kernel: [*window, I, O] -> [B, *space', O].

    `padding` is a (low, high) pair for each axis; None keeps the size (odd windows).
    """
    space = kernel.ndim - 2
    dilation = dilation or (1,) * space
    if padding is None:
        half = [(size - 1) * step // 2 for size, step in zip(kernel.shape, dilation)]
        padding = [(h, h) for h in half]
    letters = "THW"[-space:] if space > 1 else "T"
    numbers = (f"N{letters}C", f"{letters}IO", f"N{letters}C")
    return jax.lax.conv_general_dilated(
        x, kernel, strides or (1,) * space, padding, rhs_dilation=dilation, dimension_numbers=numbers
    )


def conv_transpose(x, kernel, *, stride: int, padding: int) -> jax.Array:
    """Transposed 1-D convolution as torch defines it. x: [B, T, I], kernel: [k, I, O] -> [B, T', O].

    T' = (T - 1) * stride + k - 2 * padding.
    """
    size = kernel.shape[0]
    if jax.default_backend() != "cpu":
        edge = size - 1 - padding
        return jax.lax.conv_general_dilated(
            x,
            kernel[::-1],
            (1,),
            [(edge, edge)],
            lhs_dilation=(stride,),
            dimension_numbers=("NTC", "TIO", "NTC"),
        )
    return _overlap_add(x, kernel, stride, padding)


def _overlap_add(x, kernel, stride, padding):
    """Every input frame's k outputs by one matrix product, then shifted sums of stride-long parts."""
    batch, frames, _ = x.shape
    size, width, out = kernel.shape
    parts = -(-size // stride)
    kernel = jnp.pad(kernel, ((0, parts * stride - size), (0, 0), (0, 0)))
    flat = kernel.transpose(1, 0, 2).reshape(width, parts * stride * out)
    y = (x @ flat).reshape(batch, frames, parts, stride * out)
    total = sum(
        jnp.pad(y[:, :, part], ((0, 0), (part, parts - 1 - part), (0, 0))) for part in range(parts)
    )
    total = total.reshape(batch, (frames + parts - 1) * stride, out)
    length = (frames - 1) * stride + size - 2 * padding
    return total[:, padding : padding + length]


def winograd_kernel(kernel) -> np.ndarray:
    """Transforms [3, 3, I, O] to the [16, I, O] that `winograd_conv` takes."""
    g = _KERNEL_TRANSFORM
    out = np.einsum("ah,hwio,bw->abio", g, np.asarray(kernel, np.float32), g, optimize=True)
    return np.ascontiguousarray(out.reshape(16, *kernel.shape[2:]))


def winograd_conv(x, kernel) -> jax.Array:
    """3x3 convolution of stride 1 that keeps the size. x: [B, H, W, I], kernel: [16, I, O]."""
    batch, height, width, _ = x.shape
    rows, cols = -(-height // 2), -(-width // 2)
    x = jnp.pad(x, ((0, 0), (1, 2 * rows - height + 1), (1, 2 * cols - width + 1), (0, 0)))
    tiles = [part for row in _input_transform(x, 1) for part in _input_transform(row, 2)]
    if batch * rows * cols <= _FEW_TILES:
        flat = jnp.stack([t.reshape(-1, t.shape[-1]) for t in tiles])
        product = jnp.einsum("kti,kio->kto", flat, kernel)
        product = product.reshape(16, batch, rows, cols, -1)
    else:
        product = [t @ kernel[k] for k, t in enumerate(tiles)]
    columns = [_output_transform(product[4 * a : 4 * a + 4]) for a in range(4)]
    pairs = zip(*columns)
    (y00, y10), (y01, y11) = (_output_transform(list(column)) for column in pairs)
    y = jnp.stack([jnp.stack([y00, y01], 3), jnp.stack([y10, y11], 3)], 2)
    return y.reshape(batch, 2 * rows, 2 * cols, -1)[:, :height, :width]


def _input_transform(x, axis):
    """The four rows of B^T d along `axis`, for all tiles at once: tiles overlap by two."""
    even = jax.lax.slice_in_dim(x, 0, None, 2, axis)
    odd = jax.lax.slice_in_dim(x, 1, None, 2, axis)
    d0, d2 = jax.lax.slice_in_dim(even, 0, -1, 1, axis), jax.lax.slice_in_dim(even, 1, None, 1, axis)
    d1, d3 = jax.lax.slice_in_dim(odd, 0, -1, 1, axis), jax.lax.slice_in_dim(odd, 1, None, 1, axis)
    return d0 - d2, d1 + d2, d2 - d1, d1 - d3


def _output_transform(m):
    """The two rows of A^T m."""
    return m[0] + m[1] + m[2], m[1] - m[2] - m[3]
