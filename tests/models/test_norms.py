"""Normalisation layers against torch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from audioldm2_jax import backend
from audioldm2_jax.models.norms import BatchNorm, GroupNorm, LayerNorm, RMSNorm


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


SCALE, BIAS, MEAN, VARIANCE = draw(8, seed=1), draw(8, seed=2), draw(8, seed=3), 0.5
PARAMS = {"scale": SCALE, "bias": BIAS}


def twin(module):
    """A torch module in float64 with the same scale and bias."""
    module = module.double()
    for name, value in (("weight", SCALE), ("bias", BIAS)):
        if getattr(module, name, None) is not None:
            getattr(module, name).data = torch.tensor(value).double()
    return module


def channels_first(x):
    return torch.tensor(x).double().moveaxis(-1, 1)


@pytest.mark.parametrize("train", [False, True])
def test_batch_norm(train):
    """Also its statistics, which torch blends with a momentum of 1."""
    x, variance = draw(4, 5, 8), np.full(8, VARIANCE, np.float32)
    theirs = twin(torch.nn.BatchNorm1d(8, momentum=1.0)).train(train)
    theirs.running_mean, theirs.running_var = torch.tensor(MEAN), torch.tensor(variance)
    theirs.double()
    params = PARAMS | {"mean": MEAN, "variance": variance}
    ours, statistics = BatchNorm().apply({"params": params}, x, train)
    expected = theirs(channels_first(x)).moveaxis(1, -1).detach()
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)
    assert set(statistics) == ({"mean", "variance"} if train else set())
    if train:
        np.testing.assert_allclose(statistics["mean"], theirs.running_mean, atol=1e-5)
        np.testing.assert_allclose(statistics["variance"], theirs.running_var, rtol=1e-5)


def test_batch_norm_without_stored_statistics():
    x = draw(4, 5, 8)
    layer = BatchNorm(stored=False)
    assert set(layer.init(jax.random.key(0), x)["params"]) == {"scale", "bias"}
    ours, _ = layer.apply({"params": PARAMS}, x)
    theirs = twin(torch.nn.BatchNorm1d(8))(channels_first(x)).moveaxis(1, -1).detach()
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
@pytest.mark.parametrize("silu, clips", [(False, 0), (True, 0), (True, 1), (False, 2)])
def test_group_norm(silu, clips, platform):
    """clips: of the offset, 0: without one."""
    x, offset = draw(2, 5, 3, 8) + 2, draw(clips, 8, seed=4) if clips else None
    moved = x if offset is None else x + offset[:, None, None]
    theirs = twin(torch.nn.GroupNorm(4, 8))(channels_first(moved))
    theirs = torch.nn.functional.silu(theirs) if silu else theirs
    with backend.targeting(platform):
        ours = GroupNorm(4, silu=silu).apply({"params": PARAMS}, x, offset)
    np.testing.assert_allclose(ours, theirs.moveaxis(1, -1).detach(), rtol=1e-5, atol=1e-5)


def test_layer_norm_and_rms_norm():
    x = draw(2, 5, 8) + 2
    theirs = twin(torch.nn.LayerNorm(8))(torch.tensor(x).double()).detach()
    ours = LayerNorm().apply({"params": PARAMS}, x)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    theirs = twin(torch.nn.RMSNorm(8, eps=1e-6))(torch.tensor(x).double()).detach()
    ours = RMSNorm().apply({"params": {"scale": SCALE}}, x)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layer", [BatchNorm(), GroupNorm(4), LayerNorm(), RMSNorm()])
def test_statistics_are_fp32(layer):
    """bf16 inputs with a large mean keep their deviation."""
    x = (jnp.asarray(draw(4, 64, 8)) * 0.5 + 8).astype(jnp.bfloat16)
    params = layer.init(jax.random.key(0), x)
    ours, exact = (layer.apply(params, y) for y in (x, x.astype(jnp.float32)))
    ours, exact = (y[0] if isinstance(y, tuple) else y for y in (ours, exact))
    np.testing.assert_allclose(
        np.asarray(ours, np.float32), np.asarray(exact, np.float32), rtol=1e-2, atol=1e-2
    )
