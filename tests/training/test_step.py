"""Laws of the step: any mesh is one device, micro-batches one batch, bad steps change nothing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from audioldm2_jax import sharding
from audioldm2_jax.training import optim
from audioldm2_jax.training.optim import OptimConfig
from audioldm2_jax.training.state import born_sharded, state_shardings
from audioldm2_jax.training.step import make_step
from tests.training.stages_of import (
    batch,
    initial,
    largest_difference,
    made,
    replaced,
    stepped,
)

# Adam turns rounding of tiny gradients into whole steps; plain descent shows what was computed.
PLAIN = OptimConfig(learning_rate=1e-3, warmup=0, weight_decay=0.0, eps=1.0)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("sequence", {"data": 2, "fsdp": 2, "tensor": 2}),
        pytest.param("sequence", {"data": 8}, marks=pytest.mark.slow),
        pytest.param("audiomae", {"fsdp": 4, "tensor": 2}, marks=pytest.mark.slow),
    ],
)
def test_any_mesh_is_one_device(name, shape, monkeypatch):
    monkeypatch.setattr(sharding, "SMALL", 256)
    found, frozen = made(name, PLAIN)
    alone, history = stepped(found, frozen, batch())
    mesh = sharding.make_mesh(shape)
    with jax.set_mesh(mesh):
        placed = state_shardings(found.stage, mesh)
        state = born_sharded(found.stage, mesh, 0)
        fresh = initial(found)
        assert largest_difference(state.params, fresh.params) < 1e-6
        step = jax.jit(make_step(found.stage), out_shardings=(placed, None), donate_argnums=0)
        data = jax.device_put(batch(), sharding.of_batch(mesh))
        held = jax.device_put(frozen, sharding.of_tree(frozen, mesh))
        for before in history:
            state, metrics = step(state, held, data)
            np.testing.assert_allclose(metrics["loss"], before["loss"], rtol=2e-5)
    assert largest_difference(alone.params, state.params) < 2e-5
    split = {s.spec for s in jax.tree.leaves(jax.tree.map(lambda x: x.sharding, state.params))}
    assert len(split) > 1 or shape == {"data": 8}, "parameters are split"


@pytest.mark.parametrize("name", ["audiomae", "sequence"])
def test_micro_batches_are_one_batch(name):
    found, frozen = made(name, PLAIN)
    whole, one = stepped(found, frozen, batch())
    parts, several = stepped(found, frozen, batch(), accumulate=4)
    tolerance = {"rtol": 2e-5} if name == "sequence" else {"rtol": 1e-4}
    np.testing.assert_allclose(one[0]["loss"], several[0]["loss"], **tolerance)
    assert largest_difference(whole.params, parts.params) < 2e-5


def test_steps_that_are_not_finite_change_nothing_but_counters():
    found, frozen = made("sequence")
    step = jax.jit(make_step(found.stage))
    state = initial(found)
    good, bad = batch(), batch()
    bad["waveform"] = np.full_like(bad["waveform"], np.nan)
    state, _ = step(state, frozen, good)
    kept = state
    for count in (1, 2):
        state, metrics = step(state, frozen, bad)
        assert metrics["skipped"] == count and not np.isfinite(metrics["loss"])
    assert largest_difference(kept.params, state.params) == 0
    assert largest_difference(kept.opt, state.opt) == 0
    assert int(state.step) == 3
    state, metrics = step(state, frozen, good)
    assert metrics["skipped"] == 0
    assert largest_difference(kept.params, state.params) > 0


@pytest.mark.slow
def test_frozen_parts_have_no_gradient():
    found, frozen = made("joint")
    params = initial(found).params
    loss = found.stage.players["model"].loss
    keys = jax.random.split(jax.random.key(1), 8)

    def value(frozen):
        return loss(params, frozen, batch(), keys, 0)[0]

    gradient = jax.jit(jax.grad(value))(frozen)
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(gradient)) == 0


def test_fixed_parameters_stay():
    found, frozen = made("audiomae")
    before = initial(found).params
    after, _ = stepped(found, frozen, batch())
    np.testing.assert_array_equal(
        before["audiomae"]["positions"], after.params["audiomae"]["positions"]
    )
    assert largest_difference(before["audiomae"]["patch"], after.params["audiomae"]["patch"]) > 0
    free = replaced(found, fixed=())
    after, _ = stepped(free, frozen, batch())
    moved = largest_difference(
        before["audiomae"]["positions"], after.params["audiomae"]["positions"]
    )
    assert moved > 0


def test_averages_follow():
    found, frozen = made("audiomae")
    stage = dataclasses.replace(found.stage, ema=("decoder",))
    found = dataclasses.replace(found, stage=stage)
    state, _ = stepped(found, frozen, batch(), count=3, ema_decay=0.5)
    fresh = initial(found).params["decoder"]
    path = ("pixels", "kernel")
    start, now, average = (
        np.asarray(tree[path[0]][path[1]])
        for tree in (fresh, state.params["decoder"], state.ema["decoder"])
    )
    assert 0 < np.abs(average - start).max() < np.abs(now - start).max()


def test_adamw_is_torchs():
    """Warm-up, clipping, decay and moments, step by step."""
    config = OptimConfig(learning_rate=0.1, warmup=3, clip=0.5, weight_decay=0.1)
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((4, 3)).astype(np.float32)
    theirs = torch.nn.Parameter(torch.tensor(weights))
    reference = torch.optim.AdamW([theirs], lr=1.0, weight_decay=0.1)
    ours, transform = {"w": jnp.asarray(weights)}, optim.make_optimizer(config)
    state = transform.init(ours)
    for i in range(6):
        gradient = rng.standard_normal((4, 3)).astype(np.float32)
        reference.param_groups[0]["lr"] = 0.1 * min(1.0, (i + 1) / 3)
        theirs.grad = torch.tensor(gradient)
        torch.nn.utils.clip_grad_norm_([theirs], 0.5)
        reference.step()
        updates, state = transform.update({"w": jnp.asarray(gradient)}, state, ours)
        ours = optax.apply_updates(ours, updates)
        np.testing.assert_allclose(ours["w"], theirs.detach().numpy(), atol=1e-5)


def test_schedules():
    rates = [
        [
            float(optim.learning_rate(dataclasses.replace(config, learning_rate=1.0))(i))
            for i in steps
        ]
        for config, steps in (
            (OptimConfig(warmup=0), (0, 5000)),
            (OptimConfig(warmup=10), (0, 4, 9, 50)),
            (OptimConfig(warmup=10, schedule="cosine", steps=110), (10, 60, 110)),
            (OptimConfig(warmup=0, schedule="exponential", decay=0.5, decay_every=10), (9, 10, 25)),
        )
    ]
    expected = [[1, 1], [0.1, 0.5, 1, 1], [1, 0.5, 0], [1, 0.5, 0.25]]
    for found, wanted in zip(rates, expected):
        np.testing.assert_allclose(found, wanted, atol=1e-6)
