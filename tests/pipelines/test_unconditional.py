"""What training shows the U-Net for a dropped condition is what sampling steers away from."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioldm2_jax.data.untrained import random_checkpoint
from audioldm2_jax.encoders.unconditional import encode_unconditional, unconditional_encoder
from audioldm2_jax.models.audiomae import loa_length
from audioldm2_jax.models.unet import UNet
from audioldm2_jax.pipelines.programs import program_of, shared
from audioldm2_jax.pipelines.request import ClipRequest
from audioldm2_jax.pipelines.text import tokenise
from audioldm2_jax.presets import CONVENTIONS, PRESETS
from audioldm2_jax.training.base_checkpoint import BaseCheckpoint, token_transforms, with_audiomae
from audioldm2_jax.training.configuration import read_config
from audioldm2_jax.training.optim import OptimConfig
from audioldm2_jax.training.run import frozen_parts, open_run
from audioldm2_jax.training.spec import build_stage
from audioldm2_jax.training.stages import diffusion, find_stage
from audioldm2_jax.training.stages.conditions import EMPTY_TEXT

PROMPTS = ["a dog barks in the rain, then a bell", "techno"]
SAID = ["The cat sat.", "Hello there, friend of mine."]
POOLING = 4
STAGES = [
    ("tiny-audioldm", "audioldm", {"p_clap_audio": 0.0}),
    ("tiny-audioldm", "audioldm", {"p_clap_audio": 1.0}),
    ("tiny-48k", "audioldm", {"p_clap_audio": 0.5}),
    ("tiny-musicldm", "audioldm", {"p_clap_audio": 0.0}),
    ("tiny-t5", "audioldm", {}),
    ("tiny", "joint", {"pooling": POOLING, "p_ground_truth": 1.0}),
    ("tiny", "joint", {"pooling": POOLING, "p_ground_truth": 1.0, "train_t5": True}),
    ("tiny-speech", "joint", {"pooling": POOLING, "p_ground_truth": 1.0}),
    ("tiny", "pretrain", {"poolings": (POOLING,)}),
    ("tiny-speech", "pretrain", {"poolings": (POOLING,)}),
]


@functools.cache
def checkpoint(preset):
    return random_checkpoint(with_audiomae(PRESETS[preset]()))


def batch_of(spec, start, encoded):
    """Two clips' texts as tokens and, in place of sound, what frozen encoders made of it."""
    model, rng = start.model, np.random.default_rng(0)
    batch = {}
    for name, tokens in token_transforms(start, spec).items():
        texts = SAID if tokens.spoken else PROMPTS
        rows = [tokens(row) for row in texts]
        batch[f"{name}_tokens"], batch[f"{name}_mask"] = map(np.stack, zip(*rows))
    if model.gpt2:
        shape = 2, loa_length(model.audiomae, POOLING), model.gpt2.width
        batch[f"loa_{POOLING}"] = rng.standard_normal(shape).astype(np.float32)
    if model.clap:
        batch["clap_audio"] = rng.standard_normal((2, model.clap.width)).astype(np.float32)
    if encoded and model.clap:
        batch["clap_text"] = rng.standard_normal((2, model.clap.width)).astype(np.float32)
    if encoded and model.t5:
        batch["t5"] = rng.standard_normal((2, 40, model.t5.width)).astype(np.float32)
        batch["t5_mask"] = np.ones((2, 40), bool)
    return batch


def shown(monkeypatch, preset, stage, settings, *, drop, encoded=False):
    """The U-Net's (streams, masks, film) in a training step."""

    def error(settings, params, frozen, batch, keys, streams, masks, film=None):
        return jnp.float32(0), {"streams": streams, "masks": masks, "film": film}

    monkeypatch.setattr(diffusion, "denoising_loss", error)
    loaded = checkpoint(preset)
    start = BaseCheckpoint(loaded.config, loaded.params, loaded.tokenizers)
    settings = settings | {"cond_dropout": drop}
    common = {"seconds": 1.28, "dtype": jnp.float32, "text_length": 40}
    spec = build_stage(find_stage(stage), loaded.config, OptimConfig(), settings, **common)
    (player,) = spec.stage.groups.values()
    frozen = {name: loaded.params[name] for name in spec.frozen}
    for name, constant in spec.constants.items():
        frozen[name] = constant.compute(loaded.params, jnp.float32)
    if encoded:
        reader = unconditional_encoder(loaded.config)
        frozen.pop(reader, None)
        frozen[EMPTY_TEXT] = encode_unconditional(loaded.params, loaded.config)
    params = {name: loaded.params[name] for name in player.parts}
    batch, keys = batch_of(spec, start, encoded), jax.random.split(jax.random.key(0), 2)
    _, metrics = jax.jit(player.loss)(params, frozen, batch, keys, 0)
    return metrics["streams"], metrics["masks"], metrics["film"]


@functools.cache
def steered_away_from(preset):
    """The unconditional rows of what sampling gives the U-Net."""
    loaded = checkpoint(preset)
    transcriptions = SAID if loaded.config.phonemes else [None] * 2
    requests = [
        ClipRequest(p, transcription=t, guidance=2.0) for p, t in zip(PROMPTS, transcriptions)
    ]
    texts = tokenise(requests, loaded.tokenizers, loaded.config, CONVENTIONS["authors"])
    program = program_of(loaded.config, jnp.float32)
    run = jax.jit(functools.partial(shared.condition, program))
    context, _ = run(loaded.params, texts)
    rows = {name: context[name] for name in ("kv", "masks", "film_bias") if name in context}
    return jax.tree.map(lambda x: x[::2], rows)


def contexts(preset, streams, film):
    loaded = checkpoint(preset)
    unet, variables = UNet(loaded.config.unet), {"params": loaded.params["unet"]}
    keys = unet.apply(variables, *(streams or (None, None)), method="kv")
    return keys, None if film is None else unet.apply(variables, film, method="film_bias")


def difference(preset, given):
    """The largest difference of what the U-Net's layers read, where something is kept."""
    streams, masks, film = given
    keys, films = contexts(preset, streams, film)
    sampled = steered_away_from(preset)
    largest = [0.0]
    for ours, theirs in zip(jax.tree.leaves(keys), jax.tree.leaves(sampled["kv"])):
        # T5's "" has one token; the rest is padding, which masks hide.
        kept_part = ours.shape[1] if ours.shape == theirs.shape else 1
        largest.append(float(jnp.abs(ours[:, :kept_part] - theirs[:, :kept_part]).max()))
    if films is not None:
        pairs = zip(jax.tree.leaves(films), jax.tree.leaves(sampled["film_bias"]))
        largest += [float(jnp.abs(a - b).max()) for a, b in pairs]
    for ours, theirs in zip(masks, sampled["masks"]):
        if ours is not None and theirs is not None and (ours.sum(1) != theirs.lengths).any():
            return float("inf")
    return max(largest)


@pytest.mark.slow
@pytest.mark.parametrize("preset, stage, settings", STAGES)
def test_dropped_is_unconditional(monkeypatch, preset, stage, settings):
    dropped = shown(monkeypatch, preset, stage, settings, drop=1.0)
    assert difference(preset, dropped) < 2e-6
    if stage != "pretrain":
        assert difference(preset, shown(monkeypatch, preset, stage, settings, drop=0.0)) > 1e-2


@pytest.mark.parametrize("preset, stage, settings", [STAGES[i] for i in (1, 5)])
def test_encoded_corpora_bring_it_along(monkeypatch, preset, stage, settings):
    """Where no encoder is loaded, what it makes of "" still is."""
    dropped = shown(monkeypatch, preset, stage, settings, drop=1.0, encoded=True)
    assert difference(preset, dropped) < 2e-6


def test_the_rows_prove_something():
    """CLAP's vector of "" is not zeros, and T5's state of "" is not."""
    for preset in ("tiny-audioldm", "tiny"):
        loaded = checkpoint(preset)
        assert float(jnp.abs(encode_unconditional(loaded.params, loaded.config)).max()) > 1e-2


@pytest.mark.parametrize("variant, names", [("audioldm", "clap"), ("joint", "t5")])
def test_a_run_loads_it_for_encoded_corpora(variant, names):
    config = read_config(f"configs/{variant}.py:tiny", ["--config.data.sources=x"])
    run = open_run(config)
    held = {"mean", "logvar", "clap_audio", "clap_text", "t5", "t5_mask"}
    held |= {f"loa_{pooling}" for pooling in run.spec.batch.poolings}
    frozen = frozen_parts(run, dict.fromkeys(held))
    assert set(frozen) == {EMPTY_TEXT}
    params = run.base.load((names,), jnp.float32)
    expected = encode_unconditional(params, run.base.model)
    np.testing.assert_allclose(frozen[EMPTY_TEXT], expected, atol=1e-2)
