"""Text to audio with AudioLDM 2, the class most users meet."""

from __future__ import annotations

import dataclasses
import platform

import flax
import jax
import jax.numpy as jnp
import numpy as np

import audioldm2_jax
from audioldm2_jax import audio, tree
from audioldm2_jax.checkpoints import download, hub
from audioldm2_jax.diffusion.samplers import make_plan
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.clap import CLAP
from audioldm2_jax.models.layers import fast_kernels
from audioldm2_jax.pipelines import program, request, text
from audioldm2_jax.pipelines.output import Output
from audioldm2_jax.pipelines.run import Note, Runner, check_fits, enable_cache

DTYPES = {
    "fp32": jnp.float32,
    "float32": jnp.float32,
    "bf16": jnp.bfloat16,
    "bfloat16": jnp.bfloat16,
}


class Pipeline:
    """A loaded checkpoint, ready to generate.

    pipe = Pipeline.from_pretrained("cvssp/audioldm2")
    pipe("a dog barks in the rain", seconds=5).save("out")
    """

    def __init__(self, checkpoint: hub.Checkpoint, dtype=None):
        """Takes over the checkpoint's parameters: on the CPU their kernels are turned in place."""
        self.config, self.convention = checkpoint.config, checkpoint.convention
        self.tokenizers, self.source = checkpoint.tokenizers, checkpoint.source
        self.dtype = choose_dtype(dtype)
        self.params = checkpoint.params
        if jax.default_backend() == "cpu" and self.dtype == jnp.float32:
            for part in (
                self.params["unet"],
                self.params["vae"]["decoder"],
                self.params["vocoder"],
            ):
                fast_kernels(part)
        self._runner = Runner(self.params, self.dtype)
        enable_cache()

    @classmethod
    def from_pretrained(
        cls, folder_or_hub_id, dtype=None, convention="authors", *, revision=None, progress=True
    ) -> Pipeline:
        """Loads a hub-layout folder, or a hub id through the hub's cache.

        dtype: "fp32", "bf16" or a jnp dtype; None is bf16 on GPU and TPU, fp32 on CPU. convention:
        "authors" reads the weights as they were trained, "diffusers" as diffusers does. revision:
        a branch, tag or commit of the hub repository.
        Raises InputError, one line that names what is wrong.
        """
        dtype = choose_dtype(dtype)
        hub.convention_named(convention)
        folder = download.locate(folder_or_hub_id, revision=revision, quiet=not progress)
        source = str(folder_or_hub_id) + (f"@{revision}" if revision else "")
        with Note(f"loading {source}", progress):
            checkpoint = hub.load(folder, convention=convention, dtype=dtype, source=source)
        return cls(checkpoint, dtype)

    def __call__(
        self,
        prompt,
        negative_prompt=None,
        seconds=None,
        steps=25,
        sampler="dpm++2m",
        eta=0.0,
        guidance=3.5,
        candidates=1,
        seed=0,
        latents=None,
        progress=True,
        *,
        first_clip=0,
    ) -> Output:
        """Generates a clip for each prompt.

        prompt: a text or P texts. negative_prompt: what to steer away from, one for all or one for
        each. seconds: None is the length of training. steps, sampler, eta: see
        `diffusion.samplers`. guidance: classifier-free scale, 1 or less for none. candidates: clips
        for each prompt, ranked by CLAP against that prompt. latents: initial noise
        [P * candidates, T, F, C], a prompt's candidates contiguous, in place of the seed's.
        first_clip: number of the request's first clip among the seed's clips, to repeat a part of a
        longer request. Raises InputError for values it cannot use and for a result with NaN.
        """
        prompts, negatives = request.check_texts(prompt, negative_prompt)
        guidance = request.check_guidance(guidance)
        candidates = request.check_count("candidates", candidates, 1)
        seed = request.check_count("seed", seed, 0)
        first_clip = request.check_count("first_clip", first_clip, 0)
        plan = make_plan(sampler, self.config.schedule, steps, eta=eta)
        grid = request.time_grid(seconds, self.config, self.convention)
        # A quarter of the estimate: refuse only what certainly cannot fit; what is compiled is
        # checked exactly.
        least = (
            request.working_memory(grid.frames, self.config, jnp.dtype(self.dtype).itemsize) // 4
        )
        check_fits(least, f"a clip of {grid.seconds:g} s")
        clips = len(prompts) * candidates
        bins = self.config.vocoder.mels // self.config.vae.factor
        shape = (clips, grid.frames, bins, self.config.unet.in_channels)
        injected = latents is not None
        keys = _clip_keys(seed, first_clip, clips)
        if injected:
            latents = request.check_latents(latents, shape)
        else:
            latents = program.clip_noise(keys, 0, shape)

        asked = negatives or [""]
        unconditional = asked if guidance > 1.0 else []
        job = program.Job(
            self.config,
            self.dtype,
            len(unconditional),
            self.convention.zero_loa and not any(negatives),
            candidates,
            grid.samples,
        )
        texts = text.encode(prompts, unconditional, self.tokenizers, self.config, self.convention)
        arguments = (job, texts, plan, np.float32(guidance), keys, jnp.asarray(latents))
        if progress and jax.default_backend() == "cpu":
            waves, features = self._runner.stepwise(*arguments)
        else:
            waves, features = self._runner.whole(*arguments, progress=progress)
        waves = np.asarray(waves, np.float32).reshape(len(prompts), candidates, -1)
        if not np.isfinite(waves).all():
            raise InputError(
                f"the result holds NaN or infinity (dtype {jnp.dtype(self.dtype).name}): nothing "
                "was written; try --dtype fp32, or check the weights"
            )
        scores = None
        if candidates > 1:
            waves, scores = self._rank(waves, np.asarray(features), progress)
        metadata = self._metadata() | {
            "prompts": prompts,
            "negative_prompts": negatives,
            "seconds": grid.seconds,
            "latent_frames": grid.frames,
            "steps": steps,
            "sampler": sampler,
            "eta": eta,
            "guidance": guidance,
            "candidates": candidates,
            "seed": seed,
            "first_clip": first_clip,
            "latents_injected": injected,
        }
        return Output(waves, scores, self.config.vocoder.sample_rate, metadata)

    def _rank(self, waves, features, progress):
        """Sorts each prompt's candidates by their similarity to that prompt alone, best first."""
        prompts, candidates, samples = waves.shape
        with Note("ranking candidates", progress):
            heard = self.audio_features(waves.reshape(-1, samples), self.config.vocoder.sample_rate)
        scores = np.einsum("pd,pnd->pn", features, heard.reshape(prompts, candidates, -1))
        order = np.argsort(-scores, axis=1, kind="stable")
        ranked = np.take_along_axis(waves, order[:, :, None], 1)
        return ranked, np.take_along_axis(scores, order, 1)

    def audio_features(self, waves, sample_rate: int) -> np.ndarray:
        """CLAP features of clips. waves: [B, samples] at `sample_rate` -> [B, D], unit length."""
        mel = self.config.clap.mel
        clips = audio.fit_clip(audio.resample(waves, sample_rate, mel.sample_rate), mel)
        run = self._runner.compiled(
            _hear,
            (self.config.clap, self.dtype),
            self.params["clap"],
            clips[:1],
            label="audio encoder",
            progress=False,
        )
        return np.concatenate([np.asarray(run(self.params["clap"], clip[None])) for clip in clips])

    def _metadata(self) -> dict:
        return {
            "model": self.source,
            "convention": dataclasses.asdict(self.convention),
            "heads": list(self.config.unet.heads),
            "dtype": jnp.dtype(self.dtype).name,
            "device": jax.devices()[0].device_kind,
            "versions": {
                "audioldm2_jax": audioldm2_jax.__version__,
                "jax": jax.__version__,
                "flax": flax.__version__,
                "python": platform.python_version(),
            },
        }

    @property
    def parameters(self) -> dict[str, int]:
        """Number of parameters of every part (kernels prepared for the CPU counted as they lie)."""
        return {name: tree.count(part) for name, part in self.params.items()}


def _hear(job, params, clip):
    config, dtype = job
    mel = audio.clap_log_mel(clip, config.mel)
    return CLAP(config, dtype).apply({"params": params}, mel, method="audio_features")


def _clip_keys(seed, first, count):
    key = jax.random.key(seed)
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(first, first + count))


def choose_dtype(dtype):
    """A dtype by name, or the backend's: bf16 on GPU and TPU, fp32 on CPU."""
    if dtype is None:
        return jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
    if isinstance(dtype, str):
        if dtype not in DTYPES:
            raise InputError(f"unknown dtype {dtype!r}: choose one of {' '.join(DTYPES)}")
        return DTYPES[dtype]
    if jnp.dtype(dtype) not in (jnp.dtype(jnp.float32), jnp.dtype(jnp.bfloat16)):
        raise InputError(f"dtype {jnp.dtype(dtype).name} is not supported: float32 or bfloat16")
    return jnp.float32 if jnp.dtype(dtype) == jnp.float32 else jnp.bfloat16
