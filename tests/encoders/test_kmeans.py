"""k-means finds clusters, replaces dead centroids, and does not depend on the devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioldm2_jax.encoders import kmeans
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.kmeans import nearest
from audioldm2_jax.sharding import make_mesh

RNG = np.random.default_rng(0)
CENTRES = 5 * RNG.standard_normal((8, 6)) + 3
FEATURES = (CENTRES[np.arange(1000) % 8] + 0.1 * RNG.standard_normal((1000, 6))).astype(np.float32)


def fit(devices):
    mesh = make_mesh({"data": devices}, jax.devices()[:devices])
    return kmeans.fit(FEATURES, 8, jax.random.key(0), passes=2, batch=300, mesh=mesh)


def test_clusters_on_one_device_and_on_eight():
    """The same centroids, which are the centres of the clusters; 300 is no multiple of 8."""
    ours, sharded = jax.tree.map(np.asarray, (fit(1), fit(8)))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-4), ours, sharded)
    np.testing.assert_allclose(ours["mean"], FEATURES.mean(0), atol=1e-5)
    np.testing.assert_allclose(ours["std"], FEATURES.std(0), atol=1e-5)
    centroids = ours["centroids"] * ours["std"] + ours["mean"]
    distances = np.linalg.norm(centroids[:, None] - CENTRES, axis=-1)
    assert sorted(distances.argmin(1)) == list(range(8))
    assert distances.min(1).max() < 0.1


def test_dead_centroids_become_far_rows():
    """Two centroids beyond all rows take the rows that the third serves worst."""
    x = jnp.asarray(np.repeat([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]], 4, 0), jnp.float32)
    start = jnp.asarray([[0.0, 0.0], [500.0, 500.0], [900.0, 0.0]])
    state = kmeans._State(start, jnp.zeros(3, jnp.int32), jnp.asarray([0, 9, 9], jnp.int32))
    valid = jnp.ones(12, bool)
    for step in range(3):
        state = kmeans.lloyd_step(state, x, valid, jax.random.key(step))
    assert not (np.abs(state.centroids) > 20).any()
    assert (np.asarray(state.idle) < 3).all()


def test_padding_counts_for_nothing():
    x = jnp.asarray([[1.0], [3.0], [100.0]])
    state = kmeans._State(jnp.asarray([[0.0]]), jnp.zeros(1, jnp.int32), jnp.zeros(1, jnp.int32))
    state = kmeans.lloyd_step(state, x, jnp.asarray([True, True, False]), jax.random.key(0))
    np.testing.assert_allclose(state.centroids, [[2.0]])
    assert int(state.rows[0]) == 2


def test_too_few_rows():
    with pytest.raises(InputError, match="9 centroids"):
        kmeans.fit(FEATURES[:8], 9, jax.random.key(0))


def test_nearest():
    x, centroids = RNG.standard_normal((2, 50, 6)), RNG.standard_normal((9, 6))
    distances = np.square(x[:, :, None] - centroids).sum(-1)
    np.testing.assert_array_equal(nearest(x, centroids), distances.argmin(-1))
