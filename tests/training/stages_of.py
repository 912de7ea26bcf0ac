"""Every stage at toy size, with a batch that it can be fed."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax.data.untrained import random_checkpoint
from audioldm2_jax.presets import PRESETS, ModelConfig
from audioldm2_jax.training.base_checkpoint import with_audiomae
from audioldm2_jax.training.optim import OptimConfig
from audioldm2_jax.training.spec import StageSpec, build_stage
from audioldm2_jax.training.stages import find_stage
from audioldm2_jax.training.state import init_state
from audioldm2_jax.training.step import make_step


def one_level(model: ModelConfig) -> ModelConfig:
    """The model with the U-Net's first level alone, which compiles in half the time."""
    first = {"channels": (32,), "attention": (True,), "depths": (1,), "heads": (1,)}
    unet = dataclasses.replace(model.unet, contexts=model.unet.contexts[:1], **first)
    return dataclasses.replace(model, unet=unet)


SECONDS = 1.28
TINY = one_level(with_audiomae(PRESETS["tiny"]()))
FILM = one_level(PRESETS["tiny-audioldm"]())
SETTINGS = {
    "audiomae": {"decoder_width": 24, "decoder_depth": 2, "decoder_heads": 2},
    "clap": {},
    "vae": {"discriminator_start": 2, "discriminator_width": 8},
    "vocoder": {"segment": 2048, "small_discriminators": True},
    "loa": {"pooling": 4, "rollout_weight": 0.5},
    "pretrain": {"poolings": (4, 8)},
    "joint": {"pooling": 4},
    "audioldm": {"p_clap_audio": 0.5},
    "panns": {"channels": (8, 16), "width": 16},
}
QUICK = OptimConfig(learning_rate=1e-3, warmup=0)


def plan(name: str, model, optim: OptimConfig, settings: dict, **run) -> StageSpec:
    """A stage of the table."""
    return build_stage(find_stage(name), model, optim, settings, **run)


def build_spec(
    name: str, optim: OptimConfig = QUICK, *, remat: str = "none", **settings
) -> tuple[StageSpec, dict]:
    """(stage, frozen parameters)."""
    model = FILM if name == "audioldm" else TINY
    chosen = SETTINGS[name] | settings
    about = {"seconds": SECONDS, "dtype": jnp.float32, "classes": tuple("abcdef")}
    spec = plan(name, model, optim, chosen, remat=remat, **about)
    if not spec.frozen:
        return spec, {}
    params = weights(model is FILM)
    frozen = {part: params[part] for part in spec.frozen}
    for key, constant in spec.constants.items():
        frozen[key] = constant.compute({constant.part: params[constant.part]}, jnp.float32)
    return spec, frozen


@functools.cache
def weights(film: bool = False) -> dict:
    """The toy model's random parameters, drawn once for all tests."""
    return random_checkpoint(FILM if film else TINY).params


def batch(size: int = 8, seed: int = 0) -> dict:
    """All that any stage reads: a tone in noise for each clip, and tokens."""
    rng = np.random.default_rng(seed)
    places = np.arange(int(SECONDS * 16000)) / 16000
    tones = np.sin(2 * np.pi * rng.uniform(100, 3000, (size, 1)) * places)
    waves = 0.3 * tones + 0.02 * rng.standard_normal(tones.shape)

    def tokens(length=12):
        return rng.integers(5, 500, (size, length)).astype(np.int32)

    mask = np.arange(12) < rng.integers(4, 13, (size, 1))
    return {
        "waveform": waves.astype(np.float32),
        "waveform_48k": np.repeat(waves, 3, 1).astype(np.float32),
        "clap_tokens": tokens(),
        "clap_mask": mask,
        "t5_tokens": tokens(),
        "t5_mask": mask,
        "labels": (rng.random((size, 6)) < 0.3).astype(np.float32),
    }


def precomputed(spec: StageSpec, size: int) -> dict:
    """What `encode` would have written of a batch's sound, drawn at random."""
    rng = np.random.default_rng(0)
    shapes = {name: spec.batch.precomputed[name].shape for name in sorted(spec.batch.from_sound)}
    return {
        k: rng.standard_normal((size, *shape)).astype(np.float32) for k, shape in shapes.items()
    }


def initial(spec: StageSpec):
    """The stage's first state."""
    return jax.jit(lambda key: init_state(spec.stage, key))(jax.random.key(0))


def stepped(spec: StageSpec, frozen: dict, data: dict, count: int = 2, **settings):
    """(state, metrics of each step)."""
    state = initial(spec)
    step = jax.jit(make_step(spec.stage, **settings))
    history = []
    for _ in range(count):
        state, metrics = step(state, frozen, data)
        history.append(jax.device_get(metrics))
    return state, history


def largest_difference(one, other) -> float:
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other))
    return max(float(np.abs(np.asarray(a, np.float64) - np.asarray(b)).max()) for a, b in pairs)


def replaced(spec: StageSpec, **changes) -> StageSpec:
    """The stage with its only group changed."""
    group = dataclasses.replace(spec.stage.groups["model"], **changes)
    stage = dataclasses.replace(spec.stage, groups={"model": group})
    return dataclasses.replace(spec, stage=stage)
