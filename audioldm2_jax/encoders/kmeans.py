"""k-means of an encoder's states: k-means++, then Lloyd's algorithm on mini-batches.

Mini-batches as in Sculley (WWW 2010): a centroid is the mean of all rows that were ever nearest to
it. Rows are split over the devices of a mesh; the result is the same on any number of them, up to
rounding.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from audioldm2_jax.errors import InputError
from audioldm2_jax.models.kmeans import nearest
from audioldm2_jax.sharding import batch_sharding, make_mesh, replicated

# Rows for each centroid that k-means++ chooses from.
_START_ROWS = 20
# A centroid is dead after so many batches without a row.
_PATIENCE = 10


class _State(NamedTuple):
    """centroids [K, D]; rows: how many each is the mean of, [K]; idle: batches without one, [K]."""

    centroids: jax.Array
    rows: jax.Array
    idle: jax.Array


def statistics(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean, standard deviation) of each dimension, fp32 [D]. features: [N, D].

    A constant dimension has the deviation 1.
    """
    mean = features.mean(0, dtype=np.float64)
    # In pieces, since the squares are fp64.
    pieces = (features[i : i + 65536] for i in range(0, len(features), 65536))
    square = sum(np.square(piece - mean).sum(0) for piece in pieces) / len(features)
    std = np.sqrt(square)
    return mean.astype(np.float32), np.where(std > 1e-8, std, 1.0).astype(np.float32)


def fit(
    features: np.ndarray,
    codebook: int,
    key,
    *,
    passes: int = 10,
    batch: int = 8192,
    mesh: Mesh | None = None,
    progress: Callable[[int], object] | None = None,
) -> dict[str, jax.Array]:
    """The parameters of `models.kmeans.KMeans`: centroids [K, D], mean [D], std [D].

    features: [N, D] in host memory, not standardised. passes: over all rows. batch: rows of a step.
    mesh: None is all devices. progress: called with the rows of each step. Raises InputError for
    fewer rows than centroids.
    """
    features = np.asarray(features, np.float32)
    if features.ndim != 2 or len(features) < codebook:
        raise InputError(
            f"{codebook} centroids from features of shape {features.shape}: at least as many rows "
            "are needed; give more audio or ask for fewer centroids"
        )
    mesh = make_mesh() if mesh is None else mesh
    mean, std = statistics(features)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())

    def rows(indices, size):
        """Standardised rows on the devices, and which are none: the last batch is padded."""
        padded = -(-size // mesh.size) * mesh.size
        values = np.zeros((padded, features.shape[1]), np.float32)
        values[: len(indices)] = (features[indices] - mean) / std
        valid = np.arange(padded) < len(indices)
        return jax.device_put((values, valid), batch_sharding(mesh))

    start = rng.permutation(len(features))[: _START_ROWS * codebook]
    first = plus_plus(*rows(np.sort(start), len(start)), codebook, jax.random.fold_in(key, 0))
    zeros = np.zeros(codebook, np.int32)
    state = _State(first, zeros, zeros)
    state = jax.device_put(state, replicated(mesh))
    batch, step = min(batch, len(features)), 0
    for _ in range(passes):
        order = rng.permutation(len(features))
        for begin in range(0, len(order), batch):
            step += 1
            indices = order[begin : begin + batch]
            state = lloyd_step(state, *rows(indices, batch), jax.random.fold_in(key, step))
            if progress:
                progress(len(indices))
    return {"centroids": state.centroids, "mean": jnp.asarray(mean), "std": jnp.asarray(std)}


@functools.partial(jax.jit, static_argnames="codebook")
def plus_plus(x, valid, codebook: int, key) -> jax.Array:
    """Greedy k-means++: rows as centroids. x: [N, D] -> [K, D].

    Each is the best of a few rows that are drawn by their squared distances to those before it.
    valid: [N], False for rows that are none.
    """
    trials = min(2 + int(math.log(codebook)), len(x))
    squares = jnp.square(x).sum(-1)

    def step(index, carry):
        nearest, centroids = carry
        drawn = x[_far_rows(nearest, valid, trials, jax.random.fold_in(key, index))]
        products = jnp.matmul(x, drawn.T, precision=jax.lax.Precision.HIGHEST)
        distances = squares[:, None] - 2 * products + jnp.square(drawn).sum(-1)
        distances = jnp.minimum(nearest[:, None], jnp.maximum(distances, 0.0))
        best = jnp.argmin(jnp.where(valid[:, None], distances, 0.0).sum(0))
        return distances[:, best], centroids.at[index].set(drawn[best])

    # Larger than any distance, so that the first is drawn evenly and lowers all.
    start = jnp.full(len(x), 4 * squares.max() + 1.0), jnp.zeros((codebook, x.shape[1]))
    return jax.lax.fori_loop(0, codebook, step, start)[1]


def _far_rows(distances, valid, count: int, key) -> jax.Array:
    """Indices of `count` different rows, drawn by their squared distances [N]."""
    # Rows that are centroids already come last, and rows that are none behind them.
    scores = jnp.log(jnp.maximum(distances, 1e-30)) + jax.random.gumbel(key, distances.shape)
    return jax.lax.top_k(jnp.where(valid, scores, -jnp.inf), count)[1]


@jax.jit
def lloyd_step(state: _State, x, valid, key) -> _State:
    """One mini-batch. x: [M, D]; valid: [M], False for rows that are none."""
    precise = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    count = len(state.rows)
    ids = nearest(x, state.centroids)
    # As a product: its sums over rows are all-reduced, where scattered ones would be gathered.
    members = ((ids[:, None] == jnp.arange(count)) & valid[:, None]).astype(jnp.float32)
    sums, new = precise(members.T, x), members.sum(0)
    rows = state.rows + new.astype(jnp.int32)
    total = jnp.maximum(rows, 1).astype(jnp.float32)[:, None]
    centroids = state.centroids + (sums - new[:, None] * state.centroids) / total
    idle = jnp.where(new > 0, 0, state.idle + 1)
    dead = idle >= _PATIENCE
    # Rows far from their centroids take the places of dead ones.
    distances = jnp.square(x - state.centroids[ids]).sum(-1)
    choices = min(count, len(x))
    far = _far_rows(distances, valid, choices, key)
    rank = jnp.minimum(jnp.cumsum(dead) - 1, choices - 1)
    centroids = jnp.where(dead[:, None], x[far[rank]], centroids)
    return _State(centroids, jnp.where(dead, 0, rows), jnp.where(dead, 0, idle))
