"""Samples of a run: the same prompts or the same clips every time, as sounds and pictures."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax import backend
from audioldm2_jax.features.mel import log_mel, mel_config
from audioldm2_jax.pictures import colours
from audioldm2_jax.pipelines.text_to_audio import Pipeline
from audioldm2_jax.presets import ModelConfig
from audioldm2_jax.training.spec import ClipSamples

# Clips that the VAE and the vocoder restore.
CLIPS = 4
PROMPTS = (
    "a dog barks in the rain",
    "a calm piano melody with soft strings",
    "people talk while an engine idles",
    "birds sing and water flows",
)
SENTENCES = (
    "the birch canoe slid on the smooth planks",
    "glue the sheet to the dark blue background",
)


def default_prompts(model: ModelConfig) -> tuple[str, ...]:
    """Prompts where the configuration names none; sentences for speech models."""
    return SENTENCES if model.phonemes else PROMPTS


class PromptHook:
    """A hook: clips of fixed prompts and seed, by the base checkpoint with the trained parts.

    trained: (state, frozen) -> changed parts, gathered on this host; full_checkpoint: those and the
    latents' scale -> the checkpoint, called once; later states replace its parts. writer: None on
    hosts that only help to gather.
    """

    def __init__(
        self,
        every: int,
        trained,
        full_checkpoint,
        writer,
        *,
        prompts,
        steps: int,
        seconds: float,
    ):
        self.every, self._trained, self._writer = every, trained, writer
        self._full_checkpoint = full_checkpoint
        self._options = {"steps": steps, "seconds": seconds, "seed": 0, "progress": False}
        self._prompts, self._pipeline = list(prompts), None

    def __call__(self, step: int, state, frozen: Any) -> dict[str, float]:
        trained = self._trained(state, frozen)
        if self._writer is None:
            return {}
        with on_one_device():
            if self._pipeline is None:
                scale = float(frozen["scale"]) if "scale" in frozen else None
                checkpoint = self._full_checkpoint(trained, scale)
                mesh = one_device_mesh() if backend.current().batched else None
                self._pipeline = Pipeline(checkpoint, jnp.float32, mesh=mesh)
            else:
                self._pipeline.update(trained)
            out = self._pipeline(**self._texts(), **self._options)
        for prompt, wave in zip(self._prompts, out.audio):
            self._writer.sound(prompt, step, wave, out.sample_rate)
        return {}

    def _texts(self) -> dict:
        if self._pipeline.config.phonemes is None:
            return {"prompt": self._prompts}
        voices = ["a voice speaks"] * len(self._prompts)
        return {"prompt": voices, "transcription": self._prompts}


class ClipHook:
    """A hook: clips that one part restores from their mel spectrograms, as sounds or pictures.

    clips: [B, samples]; others as of `PromptHook`.
    """

    def __init__(
        self, every: int, trained, writer, kind: ClipSamples, *, model: ModelConfig, clips
    ):
        self.every, self._trained, self._writer, self._kind = every, trained, writer, kind
        self._front, self._rate = mel_config(model.vocoder), model.vocoder.sample_rate
        self._clips, self._config = np.asarray(clips), getattr(model, kind.part)
        self._restore = jax.jit(kind.restore, static_argnums=0)

    def __call__(self, step: int, state, frozen: Any) -> dict[str, float]:
        params = self._trained(state, frozen)[self._kind.part]
        if self._writer is None:
            return {}
        with on_one_device():
            mel = log_mel(self._clips, self._front)
            restored = np.asarray(self._restore(self._config, params, mel))
        for i, (true, output) in enumerate(zip(np.asarray(mel), restored)):
            if self._kind.is_sound:
                self._writer.sound(f"clip {i}", step, output, self._rate)
                continue
            both = np.concatenate([true, np.full_like(true[:4], true.max()), output])
            self._writer.picture(f"clip {i}, true and restored", step, colours(both.T[::-1]))
        return {}


def one_device_mesh() -> jax.sharding.Mesh:
    """This host's first device."""
    return jax.sharding.Mesh(np.array(jax.local_devices()[:1]), ("data",))


def on_one_device():
    """A context in which nothing is spread over the run's mesh."""
    return jax.set_mesh(one_device_mesh())


def gather(tree):
    """Arrays of the mesh as numpy's on every host."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(tree, tiled=True)
