"""Text to audio with AudioLDM 2, AudioLDM and MusicLDM, the class most users meet."""

from __future__ import annotations

import dataclasses
import math
import os
import platform
import sys
from collections.abc import Sequence

import flax
import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax import audio, tree
from audioldm2_jax.backend import enable_cache
from audioldm2_jax.checkpoints import download, hub
from audioldm2_jax.dtypes import parse_dtype
from audioldm2_jax.encoders.clap import clap_image_features, clap_text_features
from audioldm2_jax.errors import InputError
from audioldm2_jax.features.clap import clap_images
from audioldm2_jax.pipelines import program, request, text, vocabulary
from audioldm2_jax.pipelines.loading import load
from audioldm2_jax.pipelines.memory import (
    job_for,
    latents_shape,
    memory_line,
    prepack_params,
)
from audioldm2_jax.pipelines.output import Output
from audioldm2_jax.pipelines.parts import compile_parts, in_parts, run_parts
from audioldm2_jax.pipelines.run import (
    Note,
    Runner,
    check_fits,
    needed_memory,
    tree_bytes,
)
from audioldm2_jax.version import __version__


class Pipeline:
    """A loaded checkpoint, ready to generate.

    pipe = Pipeline.from_pretrained("cvssp/audioldm2")
    pipe("a dog barks in the rain", seconds=5).save("out")
    """

    def __init__(self, checkpoint: hub.Checkpoint, dtype=None):
        """checkpoint: stays usable; its arrays are shared. dtype: as of `from_pretrained`."""
        self.config, self.convention = checkpoint.config, checkpoint.convention
        self.tokenizers, self.source = checkpoint.tokenizers, checkpoint.source
        self.dtype = parse_dtype(dtype)
        self.params = prepack_params(checkpoint.params, self.dtype)
        self._words = None
        if self.source in download.bundled():
            self._words = vocabulary.bundled_words(self.tokenizers, self.config)
        self._runner = Runner(self.params, self.dtype)
        enable_cache()

    def __repr__(self) -> str:
        config, unet, vocoder = self.config, self.config.unet, self.config.vocoder
        seconds = unet.sample_size * config.vae.factor * vocoder.hop / vocoder.sample_rate
        return (
            f"Pipeline({self.source!r}, family={config.family!r}, "
            f"{tree.count(self.params) / 1e6:.1f} M parameters, {vocoder.sample_rate} Hz, trained "
            f"on {seconds:g} s, dtype={jnp.dtype(self.dtype).name}, "
            f"convention={self.convention.name!r})"
        )

    @classmethod
    def from_pretrained(
        cls,
        model: str | os.PathLike,
        dtype: str | None = None,
        convention: str = "authors",
        *,
        revision: str | None = None,
        variant: str | None = None,
        tokenizers: str | os.PathLike | None = None,
        lora: str | os.PathLike | None = None,
        lora_strength: float = 1.0,
        progress: bool = True,
    ) -> Pipeline:
        """Loads a checkpoint.

        model: a model of the package ("nano", "nano-speech"), an official name ("audioldm2-full"),
        a folder in the hub layout, a hub id through the hub's cache, or an authors' file. dtype:
        "fp32", "bf16" or a jnp dtype; None is bf16 on GPU and TPU, fp32 on CPU. convention:
        "authors" reads the weights as they were trained, "diffusers" as diffusers does. revision:
        a branch, tag or commit of the hub repository. variant: of a folder's weights, such as
        "fp16"; None is the plain ones, or the only variant there is. tokenizers: for an authors'
        file, which has none, a hub-layout folder to take them from; None is the hub. lora: a file
        of `audioldm2-jax export`, diffusers or PEFT, added with `lora_strength`.
        Raises InputError, one line that names what is wrong, and for options without effect.
        """
        dtype = parse_dtype(dtype)
        checkpoint = load(
            model,
            dtype,
            convention,
            revision=revision,
            variant=variant,
            tokenizers=tokenizers,
            lora=lora,
            lora_strength=lora_strength,
            progress=progress,
        )
        return cls(checkpoint, dtype)

    def update(self, parts: dict) -> None:
        """Takes over new parameters of some parts, of the same shapes; what is compiled stays."""
        self.params.update(prepack_params(self.params | parts, self.dtype))

    def __call__(
        self,
        prompt: str | Sequence[str] | None,
        negative_prompt: str | Sequence[str] | None = None,
        seconds: float | None = None,
        steps: int = 25,
        sampler: str | None = None,
        eta: float = 0.0,
        guidance: float | None = None,
        candidates: int = 1,
        seed: int | None = 0,
        latents: np.ndarray | jax.Array | None = None,
        progress: bool = True,
        *,
        transcription: str | Sequence[str] | None = None,
        loa: np.ndarray | jax.Array | None = None,
        first_clip: int = 0,
    ) -> Output:
        """Generates a clip for each prompt. What a clip is follows from its own request
        alone (convention "diffusers" cuts negatives to the longest prompt, as diffusers does).

        prompt: a text or P texts; for speech, descriptions of the voice. transcription: what a
        speech checkpoint says, one for all prompts or one for each. negative_prompt: what to steer
        away from, one for all or one for each. seconds: None is the length of training. steps,
        sampler, eta: see `diffusion.samplers`; None is the model's own (dpm++2m; nano's with fresh
        noise). guidance: classifier-free scale, 1 or less for none; None is the model's own (3.5;
        AudioLDM 2.5, MusicLDM 2). candidates: clips for each prompt, ranked by CLAP against that
        prompt. seed: None or -1 draws one, which the metadata tells. latents: initial noise
        [P * candidates, T, F, C], a prompt's candidates contiguous, in place of the seed's. loa:
        AudioLDM 2's language of audio [P, K, D], such as AudioMAE's of real clips, in place of what
        GPT-2 makes of the prompts. first_clip: number of the request's first clip among the seed's
        clips, to repeat a part of a longer request. Raises InputError for values it cannot use and
        for a result with NaN.
        """
        asked = request.check(
            self.config,
            self.convention,
            prompt=prompt,
            negative_prompt=negative_prompt,
            transcription=transcription,
            seconds=seconds,
            steps=steps,
            sampler=sampler,
            eta=eta,
            guidance=guidance,
            candidates=candidates,
            seed=seed,
            first_clip=first_clip,
        )
        self._check_ranks(candidates)
        name, words = self.source, self._words
        vocabulary.check_words(
            asked.prompts, asked.negatives, self.tokenizers, self.config, model=name, words=words
        )
        if seed in (None, -1) and progress:
            print(f"seed: {asked.seed}", file=sys.stderr)
        waves, features = self._generate(asked, latents, loa, progress)
        metadata = self._metadata(asked, latents is not None, loa is not None)
        rate = self.config.vocoder.sample_rate
        if candidates == 1:
            return Output(waves, rate, metadata, lambda: self._scores(waves, features))
        with Note("ranking candidates", progress):
            waves, scores = _ranked(waves, self._scores(waves, features))
        return Output(waves, rate, metadata, lambda: scores)

    def _check_ranks(self, candidates: int) -> None:
        """Raises InputError for several candidates that cannot be ranked."""
        if candidates > 1 and not self.config.has_audio_tower:
            raise InputError(
                f"candidates is {candidates}, but {self.source} holds no CLAP audio tower to rank "
                "them by: ask for 1, or convert the authors' file, which has one"
            )

    def _generate(self, asked: request.Request, latents, loa, progress):
        """Waveforms [P, n, samples] in the order of their seeds, and the prompts' CLAP features."""
        # A quarter of the estimate: refuse only what certainly cannot fit; what is compiled is
        # checked exactly.
        frames, width = asked.grid.frames, jnp.dtype(self.dtype).itemsize
        at_once = 1 if in_parts() else asked.clips
        least = request.working_memory(frames, self.config, width, at_once) // 4
        # All clips' initial noise and waveforms, in fp32.
        shape, rate = latents_shape(self.config, asked), self.config.vocoder.sample_rate
        least += 4 * (math.prod(shape) + asked.clips * int(asked.grid.seconds * rate))
        check_fits(least, f"{asked.clips} clips of {asked.grid.seconds:g} s")
        keys = _clip_keys(asked.seed, asked.first_clip, asked.clips)
        if latents is None:
            latents = program.clip_noise(keys, 0, shape)
        else:
            latents = request.check_latents(latents, shape)
        job = job_for(self.config, self.convention, asked, self.dtype)
        texts = text.encode(
            asked.prompts,
            asked.unconditional,
            asked.transcriptions,
            self.tokenizers,
            self.config,
            self.convention,
        )
        if loa is not None:
            loa = request.check_loa(loa, self.config, len(asked.prompts))
            texts = dataclasses.replace(texts, loa=loa)
        arguments = (texts, asked.plan, np.float32(asked.guidance), keys, jnp.asarray(latents))
        waves, features = self._run(job, arguments, progress)
        waves = np.asarray(waves, np.float32).reshape(len(asked.prompts), asked.candidates, -1)
        if not np.isfinite(waves).all():
            raise InputError(
                f"the result holds NaN or infinity (dtype {jnp.dtype(self.dtype).name}): nothing "
                "was written; try --dtype fp32, or check the weights"
            )
        return waves, None if features is None else np.asarray(features)

    def _run(self, job, arguments, progress):
        """Waveforms [B, samples] and CLAP features [P, D] or None, in parts or as one program."""
        runner, (texts, plan, *_, latents) = self._runner, arguments
        if in_parts():
            parts = compile_parts(runner, job, texts, plan, latents.shape, progress=progress)
            self._tell_memory(parts.needed, progress)
            return run_parts(runner, parts, job, *arguments, progress=progress)
        run = runner.whole(job, *arguments, progress=progress)
        self._tell_memory(needed_memory(run), progress)
        with Note(f"generating {latents.shape[0]} clips", progress):
            return jax.block_until_ready(run(self.params, *arguments))

    def _tell_memory(self, needed: int, progress: bool) -> None:
        if progress:
            print(memory_line(tree_bytes(self.params), needed), file=sys.stderr)

    def _scores(self, waves, features) -> np.ndarray:
        """Similarity of each clip to its own prompt. [P, n, samples], [P, D] -> [P, n].

        Raises InputError if the checkpoint has no CLAP audio tower.
        """
        heard = self.audio_features(
            waves.reshape(-1, waves.shape[-1]), self.config.vocoder.sample_rate
        )
        return np.einsum("pd,pnd->pn", features, heard.reshape(*waves.shape[:2], -1))

    def audio_features(self, waves, sample_rate: int) -> np.ndarray:
        """CLAP features of clips. waves: [B, samples] at `sample_rate` -> [B, D], unit length.

        Raises InputError if the checkpoint has no CLAP audio tower.
        """
        if not self.config.has_audio_tower:
            raise InputError(f"{self.source}: no CLAP audio tower in it, so clips are not scored")
        mel = self.config.clap.mel
        waves = audio.resample(waves, sample_rate, mel.sample_rate)
        features = []
        for wave in waves:
            images, longer = clap_images(wave, mel)
            arguments = (self.params["clap"], images[None], np.array([longer]))
            job = (self.config.clap, self.dtype)
            run = self._runner.compiled(
                _hear, job, *arguments, label="audio encoder", progress=False
            )
            features.append(np.asarray(run(*arguments)))
        return np.concatenate(features)

    def text_features(self, texts: list[str]) -> np.ndarray:
        """CLAP features of texts: [B, D], unit length. Raises InputError without CLAP."""
        if self.config.clap is None:
            raise InputError(f"{self.source}: no CLAP in it, which would read texts")
        arguments = (self.params["clap"], *text.for_clap(texts, self.tokenizers, self.config))
        job = (self.config.clap, self.dtype)
        run = self._runner.compiled(_read, job, *arguments, label="text encoder", progress=False)
        return np.asarray(run(*arguments), np.float32)

    def _metadata(self, asked: request.Request, own_latents: bool, own_loa: bool) -> dict:
        """What it takes to repeat a request; own: given with it."""
        return {
            "model": self.source,
            "convention": dataclasses.asdict(self.convention),
            "heads": list(self.config.unet.heads),
            "dtype": jnp.dtype(self.dtype).name,
            "device": jax.devices()[0].device_kind,
            "versions": {
                "audioldm2_jax": __version__,
                "jax": jax.__version__,
                "flax": flax.__version__,
                "python": platform.python_version(),
            },
            "prompts": asked.prompts,
            "transcriptions": asked.transcriptions or None,
            "negative_prompts": asked.negatives,
            "seconds": asked.grid.seconds,
            "latent_frames": asked.grid.frames,
            "guidance": asked.guidance,
            "candidates": asked.candidates,
            "seed": asked.seed,
            "first_clip": asked.first_clip,
            "steps": asked.steps,
            "sampler": asked.sampler,
            "eta": asked.eta,
            "latents_injected": own_latents,
            "loa_injected": own_loa,
        }


def _hear(job, params, mel, longer):
    config, dtype = job
    return clap_image_features(params, mel, longer, config, dtype)


def _read(job, params, tokens, mask):
    config, dtype = job
    return clap_text_features(params, tokens, mask, config, dtype)


def _ranked(waves, scores):
    """Each prompt's candidates and scores, best first; equals keep their order."""
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked = np.take_along_axis(waves, order[:, :, None], 1)
    return ranked, np.take_along_axis(scores, order, 1)


def _clip_keys(seed, first, count):
    key = jax.random.key(seed)
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(first, first + count))
