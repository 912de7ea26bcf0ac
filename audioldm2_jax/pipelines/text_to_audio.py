"""Text to audio with AudioLDM 2, AudioLDM and MusicLDM, the class most users meet."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from audioldm2_jax import backend, tree
from audioldm2_jax.checkpoints import download, hub
from audioldm2_jax.checkpoints.families import default_guidance
from audioldm2_jax.dtypes import parse_dtype
from audioldm2_jax.errors import InputError
from audioldm2_jax.log import timed_message
from audioldm2_jax.pipelines import ranking, text, vocabulary
from audioldm2_jax.pipelines.batch import (
    Batch,
    first_evaluation,
    group_by_frames,
    latents_shape,
    make_batch,
)
from audioldm2_jax.pipelines.durations import bucketed_duration, exact_duration
from audioldm2_jax.pipelines.execution import compile_batch, run_batch
from audioldm2_jax.pipelines.loading import open_checkpoint
from audioldm2_jax.pipelines.memory import (
    check_memory,
    model_shapes,
    prepack_params,
)
from audioldm2_jax.pipelines.metadata import describe
from audioldm2_jax.pipelines.output import Output
from audioldm2_jax.pipelines.parts import PartsInTurn, in_turn
from audioldm2_jax.pipelines.programs import program_of
from audioldm2_jax.pipelines.request import (
    ClipRequest,
    Request,
    check_clip,
    check_guidance,
    check_request,
    check_sampling,
)
from audioldm2_jax.pipelines.runner import Runner, sampling_mesh
from audioldm2_jax.pipelines.values import check_count, check_latents


class Pipeline:
    """A loaded checkpoint, ready to generate.

    pipe = Pipeline.from_pretrained("cvssp/audioldm2")
    pipe("a dog barks in the rain", seconds=5).save("out")
    """

    def __init__(
        self,
        checkpoint: hub.Checkpoint,
        dtype=None,
        *,
        mesh: Mesh | None = None,
        low_memory: bool = False,
        quantize: str | None = None,
    ):
        """The checkpoint stays as it is; parameters are shared with it where that is possible.

        mesh: devices whose axis `data` splits clips (`sharding.make_mesh`). None is all local
        devices on GPU and TPU; on the CPU the default device, clip by clip. low_memory: see
        `from_pretrained`; it needs no mesh. quantize: how the checkpoint's matrices are stored
        already, for the records.
        """
        self.config, self.convention = checkpoint.config, checkpoint.convention
        self.tokenizers, self.source = checkpoint.tokenizers, checkpoint.source
        self.dtype = parse_dtype(dtype)
        self.low_memory, self.quantize = low_memory, quantize
        self._runner = Runner(self.dtype, sampling_mesh(mesh, low_memory=low_memory))
        self._program = program_of(self.config, self.dtype)
        self.params: Mapping[str, dict] = {}
        if low_memory:
            self.params = in_turn(checkpoint.params)
        else:
            self.update(checkpoint.params)
        self._words = None
        if self.source in download.bundled():
            self._words = vocabulary.bundled_words(self.tokenizers, self.config)
        backend.enable_cache()

    def __repr__(self) -> str:
        config, unet, vocoder = self.config, self.config.unet, self.config.vocoder
        count = tree.count(model_shapes(config, self.dtype))
        seconds = unet.sample_size * config.vae.factor * vocoder.hop / vocoder.sample_rate
        return (
            f"Pipeline({self.source!r}, family={config.family!r}, "
            f"{count / 1e6:.1f} M parameters, {vocoder.sample_rate} Hz, trained "
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
        mesh: Mesh | None = None,
        low_memory: bool = False,
        quantize: str | None = None,
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
        of `audioldm2-jax export`, diffusers or PEFT, added with `lora_strength`. mesh: see
        `Pipeline`. low_memory: the text encoders, the U-Net and the decoders are in memory in turn,
        read again for each request, and clips are computed one after another; the clips are the
        same. quantize: "int8" holds the matrices of CLAP, T5 and GPT-2 in eight bits. Raises
        InputError for what is wrong, and for options without effect.
        """
        opened = open_checkpoint(
            model,
            dtype,
            convention,
            revision=revision,
            variant=variant,
            tokenizers=tokenizers,
            lora=lora,
            lora_strength=lora_strength,
            quantize=quantize,
            progress=progress,
        )
        return cls.from_opened(opened, mesh=mesh, low_memory=low_memory)

    @classmethod
    def from_opened(cls, opened, *, mesh: Mesh | None = None, low_memory: bool = False) -> Pipeline:
        """Loads the weights of an `OpenCheckpoint`. Raises InputError."""
        mesh = sampling_mesh(mesh, low_memory=low_memory)
        devices = None if mesh is None else list(mesh.devices.flat)
        checkpoint = opened.load(devices, low_memory=low_memory)
        options = {"mesh": mesh, "low_memory": low_memory, "quantize": opened.quantize}
        return cls(checkpoint, opened.dtype, **options)

    def update(self, parts: dict) -> None:
        """Replaces the parameters of some parts by others of the same shapes, without compiling."""
        if isinstance(self.params, PartsInTurn):
            self.params = self.params.replaced(parts)
            return
        params = prepack_params(self.params | parts, self.dtype)
        changed = {name: params[name] for name in parts}
        self.params = self.params | self._runner.place(changed)

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
        clap_features: np.ndarray | jax.Array | None = None,
        first_clip: int = 0,
    ) -> Output:
        """Generates a clip for each prompt. What a clip is follows from its own request
        alone (convention "diffusers" cuts negatives to the longest prompt, as diffusers does).

        prompt: a text or P texts; for speech, descriptions of the voice. transcription: what a
        speech checkpoint says, one for all prompts or one for each. negative_prompt: what to steer
        away from, one for all or one for each. seconds: None is the length of training. steps,
        sampler, eta: see `diffusion.samplers`; None is the model's own. guidance: classifier-free
        scale, 1 or less for none; None is the model's own. candidates: clips for each prompt,
        ranked by CLAP against that prompt. seed: None or -1 draws one, which the metadata tells.
        latents: initial noise [P * candidates, T, F, C], a prompt's candidates contiguous. loa:
        AudioLDM 2's language of audio [P, K, D], such as AudioMAE's of real clips, in place of
        GPT-2's. clap_features: [P, D], such as `audio_features` of real clips, in place of those of
        the prompts. first_clip: number of the first clip among the seed's, to repeat a part of a
        longer request. Raises InputError for values it cannot use, NumericalError for NaN.
        """
        request = check_request(
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
            source=self.source,
        )
        if seed in (None, -1) and progress:
            print(f"seed: {request.clips[0].seed}", file=sys.stderr)
        return self.run(request, latents, loa, clap_features, progress=progress)

    def run(
        self,
        request: Request,
        latents: np.ndarray | jax.Array | None = None,
        loa: np.ndarray | jax.Array | None = None,
        clap_features: np.ndarray | jax.Array | None = None,
        *,
        progress: bool = True,
    ) -> Output:
        """Generates the clips of a checked request; other arguments as of `__call__`."""
        clips, frames = request.clips, request.duration.frames
        self._check_words(clips)
        self._check_memory(request)
        injectable = {"loa": loa, "clap_features": clap_features}
        texts = text.inject(self._tokenise(clips, together=True), self.config, **injectable)
        if latents is not None:
            shape = latents_shape(self.config, frames, request.waveforms)
            latents = check_latents(latents, shape)
        schedule = request.sampling.schedule
        size = self._runner.batch_size(request.waveforms)
        batch = make_batch(clips, texts, frames, schedule, self.config, size=size, latents=latents)
        waves, features = self._sample(batch, progress)
        injectable |= {"latents": latents}
        injected = [name for name, values in injectable.items() if values is not None]
        return self._output(request, waves, features, progress, injected)

    def generate(
        self,
        requests: Sequence[ClipRequest],
        *,
        steps: int = 25,
        sampler: str | None = None,
        eta: float = 0.0,
        buckets: Sequence[float | None] | None = None,
        progress: bool = False,
    ) -> list[Output]:
        """Generates clips of different users; returns an `Output` of each request, in their order.

        Each request has its own texts, seed, guidance, candidates and duration. steps, sampler and
        eta are those of `__call__`. buckets: durations in seconds; each clip is generated at the
        shortest one that holds it, and its waveform cut to its own length. None: at its own length.

        A clip's sound depends on its own request, its bucket and the sampling alone, up to
        rounding: never on the clips beside it, their number or the devices. The bucket matters,
        since the networks see the whole of it; the metadata record it.

        Clips of one length are a batch. Where its clips are sampled together (GPU, TPU, a mesh), it
        is filled up to 1, 2, 4, 8, 16, 24 ... clips on each device, and compiled once for each such
        number and number of latent frames, and with or without guidance; see `compile`.
        Raises InputError for values that cannot be used, NumericalError for a result with NaN.
        """
        sampling = check_sampling(self.config, sampler, steps, eta)
        clips = [check_clip(self.config, request, self.source) for request in requests]
        durations = [
            bucketed_duration(clip.seconds, self.config, self.convention, buckets) for clip in clips
        ]
        self._check_words(clips)
        outputs: dict[int, Output] = {}
        for frames, numbers in group_by_frames(durations).items():
            group = tuple(clips[i] for i in numbers)
            group_request = Request(group, durations[numbers[0]], sampling)
            self._check_memory(group_request)
            size = self._runner.batch_size(group_request.waveforms)
            texts = self._tokenise(group)
            batch = make_batch(group, texts, frames, sampling.schedule, self.config, size=size)
            waves, features = self._sample(batch, progress)
            for owner, i in enumerate(numbers):
                own = batch.owners == owner
                request = Request((clips[i],), durations[i], sampling)
                own_features = None if features is None else features[own]
                outputs[i] = self._output(request, waves[own], own_features, progress)
        return [outputs[i] for i in range(len(clips))]

    def compile(
        self,
        buckets: Sequence[float | None],
        *,
        clips: Sequence[int] = (1,),
        steps: int = 25,
        sampler: str | None = None,
        eta: float = 0.0,
        guidance: float | None = None,
        progress: bool = False,
    ) -> None:
        """Compiles what `generate` runs, so that later requests need not wait for it.

        buckets: durations in seconds, None is the length of training; clips: sizes of batches;
        guidance: only whether it is above 1 matters; others as of `generate`. Texts of more than 64
        tokens are compiled for when they come. Raises InputError for what cannot run here.
        """
        sampling = check_sampling(self.config, sampler, steps, eta)
        guidance = default_guidance(self.config) if guidance is None else check_guidance(guidance)
        blank = ClipRequest("", guidance=guidance)
        for bucket in buckets:
            frames = exact_duration(bucket, self.config, self.convention).frames
            for count in clips:
                count = check_count("clips", count, 1)
                size = self._runner.batch_size(count)
                texts = text.blank(self.config, size, guided=blank.guided)
                requests = [blank] * size
                batch = make_batch(
                    requests, texts, frames, sampling.schedule, self.config, size=size
                )
                arguments = self._runner, self._program, self.params
                compile_batch(*arguments, batch, progress=progress)
                if self._runner.mesh is None:
                    self._sample(first_evaluation(batch), progress=False)
        if self.config.has_audio_tower:
            sample_rate = self.config.vocoder.sample_rate
            self.audio_features(np.zeros((1, sample_rate)), sample_rate)

    def _sample(self, batch: Batch, progress: bool):
        arguments = self._runner, self._program, self.params
        return run_batch(*arguments, batch, progress=progress)

    def _output(
        self, request: Request, waves, features, progress: bool, injected: Sequence[str] = ()
    ) -> Output:
        """waves, features: of all candidates, [B, samples] and [B, D] or None."""
        clips, rate = request.clips, self.config.vocoder.sample_rate
        count = clips[0].candidates
        waves = waves[:, : request.duration.samples].reshape(len(clips), count, -1)
        features = None if features is None else features[::count]
        metadata = describe(self, request, injected)
        if count == 1:
            return Output(waves, rate, metadata, lambda: self._scores(waves, features))
        with timed_message("ranking candidates", progress):
            waves, scores = ranking.rank(waves, self._scores(waves, features))
        return Output(waves, rate, metadata, lambda: scores)

    def _check_words(self, clips: Sequence[ClipRequest]) -> None:
        """Warns of words that the model does not know."""
        vocabulary.check_words(
            [clip.prompt for clip in clips],
            [clip.negative_prompt for clip in clips if clip.negative_prompt],
            self.tokenizers,
            self.config,
            model=self.source,
            words=self._words,
        )

    def _check_memory(self, request: Request) -> None:
        devices, low_memory = self._runner.devices, self.low_memory
        check_memory(self.config, request, self.dtype, devices, low_memory=low_memory)

    def _tokenise(self, clips: Sequence[ClipRequest], *, together: bool = False) -> text.Texts:
        models = self.tokenizers, self.config, self.convention
        return text.tokenise(clips, *models, together=together)

    def _scores(self, waves, features) -> np.ndarray:
        """Similarity of each clip to its own prompt. [P, n, samples], [P, D] -> [P, n].

        Raises InputError if the checkpoint has no CLAP audio tower.
        """
        flat = waves.reshape(-1, waves.shape[-1])
        audio_features = self.audio_features(flat, self.config.vocoder.sample_rate)
        audio_features = audio_features.reshape(*waves.shape[:2], -1)
        return np.einsum("pd,pnd->pn", features, audio_features)

    def audio_features(self, waves, sample_rate: int) -> np.ndarray:
        """CLAP features of clips. waves: [B, samples] at `sample_rate` -> [B, D], unit length.

        Raises InputError if the checkpoint has no CLAP audio tower.
        """
        if not self.config.has_audio_tower:
            raise InputError(f"{self.source}: no CLAP audio tower in it, so clips are not scored")
        config, part = self.config.clap, self.params["clap"]
        return ranking.audio_features(self._runner, part, config, waves, sample_rate)

    def text_features(self, texts: list[str]) -> np.ndarray:
        """CLAP features of texts: [B, D], unit length. Raises InputError without CLAP."""
        if self.config.clap is None:
            raise InputError(f"{self.source}: no CLAP in it, which would read texts")
        tokens = text.for_clap(texts, self.tokenizers, self.config)
        return ranking.text_features(self._runner, self.params["clap"], self.config.clap, *tokens)
