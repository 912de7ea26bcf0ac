"""MusicGen: text to music, and recordings that go on (arXiv 2306.05284)."""

from __future__ import annotations

import copy
import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np

from audioldm2_jax import backend, tree
from audioldm2_jax.checkpoints import hub
from audioldm2_jax.checkpoints.families import MUSICGEN
from audioldm2_jax.dtypes import parse_dtype
from audioldm2_jax.encoders.codec import Codec
from audioldm2_jax.errors import InputError
from audioldm2_jax.log import seconds_bar, timed_message
from audioldm2_jax.pipelines.batch import clip_keys
from audioldm2_jax.pipelines.loading import OpenCheckpoint, open_checkpoint
from audioldm2_jax.pipelines.memory import memory_line
from audioldm2_jax.pipelines.metadata import machine
from audioldm2_jax.pipelines.music_request import MusicRequest, check_music_request
from audioldm2_jax.pipelines.output import Output, check_finite
from audioldm2_jax.pipelines.recordings import Recording, recordings_of
from audioldm2_jax.pipelines.runner import Runner
from audioldm2_jax.pipelines.streams import Streams
from audioldm2_jax.pipelines.text import for_t5


class MusicGen:
    """A loaded MusicGen, ready to generate.

    music = MusicGen.from_pretrained("facebook/musicgen-small")
    music("80s pop with bassy drums and synth", seconds=8).save("out")
    """

    def __init__(self, checkpoint: hub.Checkpoint, dtype=None, *, quantize: str | None = None):
        """quantize: how the checkpoint's matrices are stored already, for the records."""
        self.config, self.params = checkpoint.config, checkpoint.params
        self.source, self.quantize = checkpoint.source, quantize
        self.dtype = parse_dtype(dtype)
        self.codec = Codec(self.config.encodec, self.params["encodec"])
        # Of a clip's own length: the last frames hear what lies behind them.
        self._decoder = copy.copy(self.codec)
        self._decoder.buckets = False
        (self._tokenizer,) = checkpoint.tokenizers.values()
        self._runner = Runner(self.dtype)
        backend.enable_cache()

    @classmethod
    def from_pretrained(
        cls,
        model: str | os.PathLike,
        dtype: str | None = None,
        *,
        revision: str | None = None,
        variant: str | None = None,
        quantize: str | None = None,
        progress: bool = True,
    ) -> MusicGen:
        """Loads a checkpoint: a folder as transformers saves it, or a hub id.

        Arguments as of `Pipeline.from_pretrained`. Raises InputError for what is wrong.
        """
        opened = open_checkpoint(
            model,
            dtype,
            revision=revision,
            variant=variant,
            quantize=quantize,
            families=(MUSICGEN.name,),
            progress=progress,
        )
        return cls.from_opened(opened)

    @classmethod
    def from_opened(cls, opened: OpenCheckpoint) -> MusicGen:
        """Loads the weights of an `OpenCheckpoint`. Raises InputError."""
        return cls(opened.load(), opened.dtype, quantize=opened.quantize)

    def __repr__(self) -> str:
        config = self.config
        return (
            f"MusicGen({self.source!r}, {tree.count(self.params) / 1e6:.1f} M parameters, "
            f"{config.encodec.sample_rate} Hz, trained on {config.seconds:g} s, "
            f"dtype={jnp.dtype(self.dtype).name})"
        )

    def __call__(
        self,
        prompt: str | Sequence[str],
        seconds: float | None = None,
        guidance: float | None = None,
        candidates: int = 1,
        seed: int | None = 0,
        progress: bool = True,
        *,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        first_clip: int = 0,
    ) -> Output:
        """Generates a clip for each prompt, which follows from its own request alone.

        prompt: a text or P texts. seconds: None is the length of training; longer clips are made
        in windows of that length. guidance: classifier-free scale, 1 or less for none; None is 3.
        candidates: 1, since nothing here ranks them. seed: None or -1 draws one. temperature: 0
        takes the likeliest tokens, None is 1; top_k: None is 250, 0 all tokens; top_p: None is 1,
        all. first_clip: number of the first clip among the seed's. Raises InputError for values it
        cannot use, NumericalError for NaN.
        """
        request = check_music_request(
            self.config,
            prompt=prompt,
            seconds=seconds,
            guidance=guidance,
            candidates=candidates,
            seed=seed,
            first_clip=first_clip,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            source=self.source,
        )
        if seed in (None, -1) and progress:
            print(f"seed: {request.clips[0].seed}", file=sys.stderr)
        return self.run(request, progress=progress)

    def continuation(
        self,
        wave,
        prompt: str = "",
        seconds: float = 8.0,
        *,
        sample_rate: int | None = None,
        guidance: float | None = None,
        candidates: int = 1,
        seed: int | None = 0,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        first_clip: int = 0,
        progress: bool = True,
    ) -> Output:
        """Continues a recording by so many seconds: [1, candidates, samples], the recording first.

        Its codes stand unchanged in the result, which is decoded as one, so that nothing clicks.
        wave: the path of a sound file, or an array [samples] or [samples, channels] at
        `sample_rate` in Hz (None: the model's); what is longer than a window keeps its end, with a
        note. prompt: "" is none. candidates: continuations, in the order of their seeds. Others as
        of `__call__`. Raises InputError for values it cannot use, NumericalError for NaN.
        """
        request = check_music_request(
            self.config,
            prompt=prompt,
            recording=self.recording(wave, sample_rate),
            seconds=seconds,
            guidance=guidance,
            candidates=candidates,
            seed=seed,
            first_clip=first_clip,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            source=self.source,
        )
        return self.run(request, progress=progress)

    def recording(self, wave, sample_rate: int | None = None) -> Recording:
        """The end of a recording, as long as a window, with a note where that is less."""
        rate = self.codec.sample_rate if sample_rate is None else sample_rate
        (recording,) = recordings_of([wave], rate, last=self.config.seconds)
        return recording

    def run(self, request: MusicRequest, *, progress: bool = True) -> Output:
        """The clips of a checked request. Raises InputError for what does not fit into memory."""
        codes = self.codes(request, progress=progress)
        with timed_message("decoding", progress):
            waves = self._decode(codes)
        check_finite(waves, self.dtype)
        waves = waves.reshape(len(request.clips), -1, *waves.shape[1:])
        return Output(waves, self.codec.sample_rate, self._describe(request, waves), _unranked)

    def codes(self, request: MusicRequest, *, progress: bool = True) -> np.ndarray:
        """The codec's tokens [B, T, Q] of a request, candidates counted."""
        codes, rows = self._known(request), request.rows
        texts = for_t5([clip.prompt for clip in rows], self._tokenizer)
        # Of an empty prompt nothing is read, not even its end.
        spoken = np.array([bool(clip.prompt.strip()) for clip in rows])
        texts = texts[0], texts[1] & spoken[:, None]
        model = self._runner, self.config, self.params
        streams = Streams(*model, request, texts, codes.shape[1], progress=progress)
        if progress:
            print(memory_line(tree.nbytes(self.params), streams.needed), file=sys.stderr)
        text, rate = streams.read(self.params, texts), self.config.frame_rate
        keys = clip_keys(request.clips, np.arange(len(rows)))
        with seconds_bar("generating", request.frames / rate, visible=progress) as advance:
            for begin, done, end in streams.windows:
                # The last positions only end streams that are late.
                share = (end - done) / (end - done + max(self.config.musicgen_lm.delays))
                report = functools.partial(_report, advance, share / rate)
                known, place = codes[:, begin:done], (end - begin, begin)
                window = streams.window(self.params, text, known, *place, keys, report)
                codes = np.concatenate([codes[:, :begin], window], 1)
        return codes

    def _known(self, request: MusicRequest) -> np.ndarray:
        """The codes [B, F, Q] that the clips begin with: whole frames of the recording's end."""
        lm, codec, recording = self.config.musicgen_lm, self.codec, request.recording
        if recording is None:
            return np.zeros((len(request.rows), 0, lm.levels), np.int32)
        wave = recording.at(codec.sample_rate)
        # Resampling may round to a sample less than the frame that was checked.
        frames = max(1, len(wave) // codec.hop)
        codes = np.asarray(codec.encode(wave[None, -frames * codec.hop :]))
        # Both channels of a stereo model say the same.
        codes = np.repeat(codes, lm.channels, -1)
        return np.repeat(codes, len(request.rows), 0)

    def _decode(self, codes: np.ndarray) -> np.ndarray:
        """Waveforms [B, samples], of stereo models [B, samples, 2], few clips at once."""
        channels, step = self.config.musicgen_lm.channels, backend.current().decoded_clips
        waves = []
        for i in range(0, len(codes), step):
            part = codes[i : i + step]
            sides = [self._decoder.decode(part[..., c::channels]) for c in range(channels)]
            waves.append(np.stack(sides, -1))
        wave = np.concatenate(waves)
        return wave[..., 0] if channels == 1 else wave

    def _describe(self, request: MusicRequest, waves: np.ndarray) -> dict:
        """What a clip's record says: all it takes to make the clip again."""
        recording, first = request.recording, request.clips[0]
        prompts = [clip.prompt for clip in request.clips]
        if recording is not None:
            prompts = [prompt or recording.name for prompt in prompts]
        return {
            "model": self.source,
            "mode": "generation" if recording is None else "continuation",
            "dtype": jnp.dtype(self.dtype).name,
            "quantize": self.quantize,
            **machine(),
            "prompts": prompts,
            "transcriptions": None,
            "negative_prompts": [],
            "recording": None if recording is None else recording.name,
            "prompt_seconds": 0.0 if recording is None else recording.seconds,
            "seconds": waves.shape[2] / self.codec.sample_rate,
            "guidance": first.guidance,
            "candidates": first.candidates,
            "seed": first.seed,
            "first_clip": first.clip,
            **dataclasses.asdict(request.draws),
        }


def _report(advance: Callable, seconds: float, positions: int) -> None:
    advance(seconds * positions)


def _unranked() -> np.ndarray:
    raise InputError("MusicGen holds no CLAP, so clips are not scored; save `separate()` clips")
