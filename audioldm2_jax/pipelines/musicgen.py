"""MusicGen: text to music, and recordings that go on (arXiv 2306.05284)."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax import backend, tree
from audioldm2_jax.checkpoints import hub
from audioldm2_jax.checkpoints.families import MUSICGEN
from audioldm2_jax.dtypes import parse_dtype
from audioldm2_jax.encoders.codec import Codec
from audioldm2_jax.errors import InputError, NumericalError, note
from audioldm2_jax.pipelines.batch import clip_keys
from audioldm2_jax.pipelines.loading import OpenCheckpoint, open_checkpoint
from audioldm2_jax.pipelines.memory import memory_line
from audioldm2_jax.pipelines.metadata import machine
from audioldm2_jax.pipelines.music_request import TOP_K, MusicRequest, check_music_request
from audioldm2_jax.pipelines.output import Output
from audioldm2_jax.pipelines.recordings import check_recording
from audioldm2_jax.pipelines.runner import Runner
from audioldm2_jax.pipelines.streams import generate_streams
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
        temperature: float = 1.0,
        top_k: int = TOP_K,
        top_p: float = 1.0,
        first_clip: int = 0,
    ) -> Output:
        """Generates a clip for each prompt, which follows from its own request alone.

        prompt: a text or P texts. seconds: None is the length of training; longer clips are made
        in windows of that length. guidance: classifier-free scale, 1 or less for none; None is 3.
        candidates: 1, since nothing ranks them. seed: None or -1 draws one. temperature: 0 takes
        the likeliest tokens; top_k, top_p: what is drawn from, 0 and 1 for all tokens. first_clip:
        number of the first clip among the seed's. Raises InputError for values it cannot use,
        NumericalError for NaN.
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

    def run(self, request: MusicRequest, *, progress: bool = True) -> Output:
        """Generates the clips of a checked request."""
        waves = self._render(self.codes(request, progress=progress))
        return self._output(request, waves[:, None], {})

    def codes(
        self, request: MusicRequest, known: np.ndarray | None = None, *, progress: bool = True
    ) -> np.ndarray:
        """The codec's codes [B, frames, Q] of a request.

        known: [B, F, Q], with which the clips begin. Raises InputError for what does not fit into
        memory.
        """
        clips = request.clips
        tokens, mask = for_t5([clip.prompt for clip in clips], self._tokenizer)
        if known is None:
            known = np.zeros((len(clips), 0, self.config.musicgen_lm.levels), np.int32)
        # Without a text there is nothing to attend to, as in audiocraft.
        mask = mask & np.array([bool(clip.prompt.strip()) for clip in clips])[:, None]
        keys = clip_keys(clips, np.arange(len(clips)))
        model = self._runner, self.config, self.params
        return generate_streams(*model, request, tokens, mask, keys, known, progress=progress)

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
        temperature: float = 1.0,
        top_k: int = TOP_K,
        top_p: float = 1.0,
        progress: bool = True,
    ) -> Output:
        """Continues a recording by so many seconds: [1, candidates, samples], the recording first.

        wave: [samples] or [samples, channels] at `sample_rate` in Hz (None: the model's). Its codes
        stand unchanged in the result. A recording longer than a window is cut to the window's part
        that a next window is given, its end, with a note. prompt: "" is none, which is not guided.
        Others as of `__call__`. Raises InputError.
        """
        lm, codec = self.config.musicgen_lm, self.codec
        rate = codec.sample_rate if sample_rate is None else sample_rate
        longest = lm.context_frames / self.config.frame_rate
        recording = check_recording(wave, rate, last=longest)
        if recording.cut:
            note(f"the recording's last {longest:g} s are continued, {recording.cut:g} s left out")
        known = self._encode(recording.at(codec.sample_rate))
        if not known.shape[1]:
            raise InputError(f"{recording.name}: shorter than a frame of {codec.hop} samples")
        total = known.shape[1] / self.config.frame_rate + seconds
        request = check_music_request(
            self.config,
            prompt=prompt,
            seconds=total,
            guidance=guidance,
            seed=seed,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            source=self.source,
            clips=candidates,
        )
        codes = self.codes(request, np.repeat(known, candidates, 0), progress=progress)
        beside = {"recording": recording.name, "recording_seconds": recording.seconds}
        return self._output(request, self._render(codes)[None], beside)
