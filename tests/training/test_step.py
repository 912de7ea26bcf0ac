"""Laws of the step: any mesh is one device, micro-batches one batch, bad steps change nothing."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from audioldm2_jax import sharding
from audioldm2_jax.data.untrained import random_checkpoint
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.layers import REMAT
from audioldm2_jax.models.t5 import T5Encoder
from audioldm2_jax.presets import PRESETS
from audioldm2_jax.training import optim
from audioldm2_jax.training.base_checkpoint import with_audiomae
from audioldm2_jax.training.optim import OptimConfig
from audioldm2_jax.training.stages import conditions, diffusion, joint, pretrain
from audioldm2_jax.training.state import init_sharded, state_shardings
from audioldm2_jax.training.step import make_step, stream_positions
from tests.training.stages_of import (
    SECONDS,
    TINY,
    batch,
    build_spec,
    initial,
    largest_difference,
    one_level,
    plan,
    precomputed,
    replaced,
    stepped,
    weights,
)

# Adam turns rounding of tiny gradients into whole steps; plain descent shows what was computed.
PLAIN = OptimConfig(learning_rate=1e-3, warmup=0, weight_decay=0.0, eps=1.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("loa", {"data": 2, "fsdp": 2, "tensor": 2}),
        pytest.param("loa", {"data": 8}, marks=pytest.mark.slow),
        pytest.param("audiomae", {"fsdp": 4, "tensor": 2}, marks=pytest.mark.slow),
    ],
)
def test_any_mesh_is_one_device(name, shape, monkeypatch):
    monkeypatch.setattr(sharding, "SMALL", 256)
    spec, frozen = build_spec(name, PLAIN)
    alone, history = stepped(spec, frozen, batch())
    mesh = sharding.make_mesh(shape)
    with jax.set_mesh(mesh):
        placed = state_shardings(spec.stage, mesh)
        state = init_sharded(spec.stage, mesh, 0)
        fresh = initial(spec)
        assert largest_difference(state.params, fresh.params) < 1e-6
        step = jax.jit(make_step(spec.stage), out_shardings=(placed, None), donate_argnums=0)
        data = jax.device_put(batch(), sharding.batch_sharding(mesh))
        held = jax.device_put(frozen, sharding.tree_shardings(frozen, mesh))
        for before in history:
            state, metrics = step(state, held, data)
            np.testing.assert_allclose(metrics["loss"], before["loss"], rtol=2e-5)
    assert largest_difference(alone.params, state.params) < 2e-5
    split = {s.spec for s in jax.tree.leaves(jax.tree.map(lambda x: x.sharding, state.params))}
    assert len(split) > 1 or shape == {"data": 8}, "parameters are split"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["audiomae", pytest.param("loa", marks=pytest.mark.slow)])
def test_micro_batches_are_one_batch(name):
    spec, frozen = build_spec(name, PLAIN)
    one_batch, history = stepped(spec, frozen, batch())
    micro, micro_history = stepped(spec, frozen, batch(), accumulate=4)
    tolerance = {"rtol": 2e-5} if name == "loa" else {"rtol": 1e-4}
    np.testing.assert_allclose(history[0]["loss"], micro_history[0]["loss"], **tolerance)
    assert largest_difference(one_batch.params, micro.params) < 2e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["loa", "pretrain", "clap", "vae"])
def test_every_policy_of_remat_has_the_same_gradients(name):
    """Less is kept, more is computed; a precomputed batch leaves the frozen encoders out."""
    gradients, flops = {}, {}
    for remat in REMAT:
        spec, frozen = build_spec(name, PLAIN, remat=remat)
        *_, group = spec.stage.groups.values()
        data, keys = batch(4) | precomputed(spec, 4), jax.random.split(jax.random.key(1), 4)
        params, gradient = initial(spec).params, jax.grad(group.loss, has_aux=True)
        lowered = jax.jit(gradient).lower(params, frozen, data, keys, 0)
        # As written: of compiled convolutions some are calls, whose work is not counted.
        flops[remat] = lowered.cost_analysis()["flops"]
        # What lies between the extremes is compared where it compiles quickly.
        if remat != "products" or name == "loa":
            gradients[remat], _ = lowered.compile()(params, frozen, data, keys, 0)
    scale = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(gradients["none"]))
    assert scale > 0
    for remat in set(gradients) - {"none"}:
        assert largest_difference(gradients["none"], gradients[remat]) < 1e-5 * scale
    assert flops["none"] <= flops["products"] < flops["blocks"]


def test_panns_has_no_blocks_to_compute_again():
    with pytest.raises(InputError, match="remat 'blocks': choose one of .* panns: none alone"):
        build_spec("panns", remat="blocks")


def test_frozen_encoders_run_once():
    """More poolings of the LOA cost pooling alone: AudioMAE hears each clip once."""
    flops = []
    for poolings in ((8,), (2, 4, 8)):
        settings = pretrain.PretrainSettings(TINY, poolings=poolings)
        _, frozen = build_spec("pretrain")
        run = jax.jit(functools.partial(conditions.true_loas, settings))
        flops.append(run.lower(frozen, batch(4)).cost_analysis()["flops"])
    assert flops[0] < flops[1] < 1.1 * flops[0]


@pytest.mark.slow
def test_clips_keep_their_draws_on_several_hosts():
    """Two hosts' halves, each every other clip of the stream, against one host's batch."""
    order = stream_positions(8, 2)
    assert order.tolist() == [0, 2, 4, 6, 1, 3, 5, 7] and stream_positions(3, 1).tolist() == [
        0,
        1,
        2,
    ]
    spec, _ = build_spec("audiomae", PLAIN)
    data = batch()
    halves = {name: value[order] for name, value in data.items()}
    one, first = stepped(spec, {}, data, 1)
    two, second = stepped(spec, {}, halves, 1, hosts=2)
    np.testing.assert_allclose(first[0]["loss"], second[0]["loss"], rtol=1e-5)
    assert largest_difference(one.params, two.params) < 2e-5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("loa", {"pooling": 1, "p_clap_audio": 1.0, "rollout_weight": 0.5, "prefix_dropout": 1.0}),
        ("joint", {"pooling": 1, "p_clap_audio": 0.5, "p_ground_truth": 1.0}),
        ("pretrain", {"poolings": (1,)}),
    ],
)
def test_speech(name, settings):
    """Phonemes in place of T5, CLAP on the sound; the phoneme encoder learns."""
    model = one_level(with_audiomae(PRESETS["tiny-speech"]()))
    spec = plan(name, model, PLAIN, settings, seconds=SECONDS, dtype=jnp.float32)
    params, length = random_checkpoint(model).params, model.projection.positions
    frozen = {part: params[part] for part in spec.frozen}
    for key, constant in spec.constants.items():
        frozen[key] = constant.compute({constant.part: params[constant.part]}, jnp.float32)
    assert not {"t5", "phonemes"} & set(frozen)
    rng, data = np.random.default_rng(0), batch(4)
    data["phonemes_tokens"] = rng.integers(1, 180, (4, length)).astype(np.int32)
    data["phonemes_mask"] = np.arange(length) < np.array([[10], [20], [60], [5]])
    if name != "loa":
        data |= precomputed(spec, 4)  # the frozen encoders of sound compile for the loa alone
    before = initial(spec)
    state, history = stepped(spec, frozen, data, 2)
    assert all(np.isfinite(v) for metrics in history for v in metrics.values())
    if name != "pretrain":
        assert largest_difference(before.params["phonemes"], state.params["phonemes"]) > 1e-6


@pytest.mark.slow
def test_dropped_clips_see_what_guidance_steers_away_from():
    """Without condition the U-Net sees zeros for the LOA and T5's states of "", as in sampling."""
    settings = joint.JointSettings(TINY, pooling=4, cond_dropout=1.0, p_ground_truth=1.0)
    params, data, keys = weights(), batch(2), jax.random.split(jax.random.key(3), 2)
    _, metrics = jax.jit(joint.joint_loss(settings))(params, params, data, keys, 0)
    empty = np.full((2, 1), 1, np.int32)
    states = T5Encoder(TINY.t5).apply({"params": params["t5"]}, empty, np.ones((2, 1), bool))
    loa = jnp.zeros((2, 8, TINY.gpt2.width))
    arguments = settings, params, params, data, keys, (loa, states), (None, None)
    expected, plain = diffusion.denoising_loss(*arguments)
    np.testing.assert_allclose(plain["diffusion"], expected)
    bounded = dataclasses.replace(settings, snr_gamma=1.0)
    lower, plain = diffusion.denoising_loss(bounded, *arguments[1:])
    assert 0 < lower < 0.9 * expected
    np.testing.assert_allclose(plain["diffusion"], expected)
    np.testing.assert_allclose(metrics["diffusion"], expected, rtol=1e-4)
    # An encoded corpus brings its states along; those of "" come with the frozen parts.
    frozen = {name: params[name] for name in ("vae", "clap", "audiomae")}
    frozen[conditions.EMPTY_TEXT] = states[0]
    data |= {"t5": np.ones((2, 12, TINY.t5.width), np.float32)}
    own = {name: params[name] for name in ("unet", "projection", "gpt2")}
    _, metrics = jax.jit(joint.joint_loss(settings))(own, frozen, data, keys, 0)
    np.testing.assert_allclose(metrics["diffusion"], expected, rtol=1e-4)


@pytest.mark.slow
def test_t5_learns_along():
    """A T5 of one's own is one of the trained parts and moves with them."""
    spec, frozen = build_spec("loa", train_t5=True)
    assert "t5" in spec.stage.groups["model"].parts and "t5" not in frozen
    before = initial(spec)
    state, _ = stepped(spec, frozen, batch(4))
    moved = jax.tree.map(
        lambda a, b: float(np.abs(a - b).max()), before.params["t5"], state.params["t5"]
    )
    assert min(jax.tree.leaves(moved)) > 1e-6
    joint, frozen = build_spec("joint", train_t5=True)
    assert {"t5", "gpt2", "unet"} <= set(joint.exports) and "t5" not in frozen
    with pytest.raises(InputError, match="train_t5: the model has no T5"):
        model = with_audiomae(PRESETS["tiny-speech"]())
        plan("loa", model, PLAIN, {"train_t5": True}, seconds=SECONDS, dtype=jnp.float32)


def test_steps_that_are_not_finite_change_nothing_but_counters():
    spec, frozen = build_spec("loa")
    step = jax.jit(make_step(spec.stage))
    state = initial(spec)
    good, bad = batch(), batch()
    bad["waveform"] = np.full_like(bad["waveform"], np.nan)
    state, _ = step(state, frozen, good)
    before = state
    for count in (1, 2):
        state, metrics = step(state, frozen, bad)
        assert metrics["skipped"] == count and not np.isfinite(metrics["loss"])
    assert largest_difference(before.params, state.params) == 0
    assert largest_difference(before.opt, state.opt) == 0
    assert int(state.step) == 3
    state, metrics = step(state, frozen, good)
    assert metrics["skipped"] == 0
    assert largest_difference(before.params, state.params) > 0


@pytest.mark.slow
def test_frozen_parts_have_no_gradient():
    spec, frozen = build_spec("joint")
    params = initial(spec).params
    loss = spec.stage.groups["model"].loss
    keys = jax.random.split(jax.random.key(1), 8)

    def value(frozen):
        return loss(params, frozen, batch(), keys, 0)[0]

    gradient = jax.jit(jax.grad(value))(frozen)
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(gradient)) == 0


@pytest.mark.slow
def test_fixed_parameters_stay():
    spec, frozen = build_spec("audiomae")
    before = initial(spec).params
    after, _ = stepped(spec, frozen, batch())
    np.testing.assert_array_equal(
        before["audiomae"]["positions"], after.params["audiomae"]["positions"]
    )
    assert largest_difference(before["audiomae"]["patch"], after.params["audiomae"]["patch"]) > 0
    free = replaced(spec, frozen_params=())
    after, _ = stepped(free, frozen, batch())
    moved = largest_difference(
        before["audiomae"]["positions"], after.params["audiomae"]["positions"]
    )
    assert moved > 0


@pytest.mark.slow
def test_averages_follow():
    spec, frozen = build_spec("audiomae")
    stage = dataclasses.replace(spec.stage, ema=("decoder",))
    spec = dataclasses.replace(spec, stage=stage)
    state, _ = stepped(spec, frozen, batch(), count=3, ema_decay=0.5)
    fresh = initial(spec).params["decoder"]
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
    for actual, desired in zip(rates, expected):
        np.testing.assert_allclose(actual, desired, atol=1e-6)
