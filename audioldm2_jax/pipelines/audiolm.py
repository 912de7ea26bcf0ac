"""AudioLM: recordings go on by language models over tokens (arXiv 2209.03143)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence

import jax.numpy as jnp
import numpy as np

from audioldm2_jax import backend, tree
from audioldm2_jax.checkpoints import hub
from audioldm2_jax.dtypes import parse_dtype
from audioldm2_jax.errors import InputError
from audioldm2_jax.log import seconds_bar
from audioldm2_jax.pipelines.audiolm_memory import check_memory
from audioldm2_jax.pipelines.audiolm_pieces import Cascade
from audioldm2_jax.pipelines.audiolm_request import Request, check_lengths, check_request
from audioldm2_jax.pipelines.audiolm_stages import Stages
from audioldm2_jax.pipelines.audiolm_tokens import Tokenization, Tokens
from audioldm2_jax.pipelines.loading import OpenCheckpoint, open_checkpoint
from audioldm2_jax.pipelines.memory import memory_line, model_shapes
from audioldm2_jax.pipelines.metadata import machine
from audioldm2_jax.pipelines.output import Output, check_finite
from audioldm2_jax.pipelines.recordings import Recording, recordings_of
from audioldm2_jax.pipelines.values import check_count
from audioldm2_jax.presets.audiolm import check_parts

FAMILY = "audiolm"


class AudioLM:
    """A loaded AudioLM checkpoint.

    lm = AudioLM.from_pretrained("checkpoints/audiolm")
    lm.continuation("speech.wav", seconds=7, candidates=3).separate().save("out")

    Where methods take recordings, each is the path of a sound file, or an array [samples] or
    [samples, channels] at `sample_rate` in Hz (None: the model's own); one, or a list of P. Clips
    are what the codec decodes, at its rate. `Output.candidates` [P, n, samples] are in the order of
    their seeds.
    """

    def __init__(self, checkpoint: hub.Checkpoint, dtype=None):
        """dtype: of the language models. Raises InputError if the parts do not fit together."""
        config = self.config = check_parts(checkpoint.config)
        self.source, self.params = checkpoint.source, dict(checkpoint.params)
        self.dtype = parse_dtype(dtype)
        self.tokenization = Tokenization(config, self.params)
        self.stages = Stages(config, self.params, self.dtype)
        # As the codec holds them, so that there is one copy.
        self.params[config.codec_name] = self.tokenization.codec.params
        self.sample_rate = config.codec.sample_rate
        backend.return_memory()
        backend.enable_cache()

    def __repr__(self) -> str:
        count, config = tree.count(model_shapes(self.config, self.dtype)), self.config
        return (
            f"AudioLM({self.source!r}, {count / 1e6:.1f} M parameters, {self.sample_rate} Hz, "
            f"{config.levels} levels, prompts of {config.sequences.prompt:g} s, "
            f"dtype={jnp.dtype(self.dtype).name})"
        )

    @classmethod
    def from_pretrained(
        cls,
        model: str | os.PathLike,
        dtype: str | None = None,
        *,
        revision: str | None = None,
        variant: str | None = None,
        progress: bool = True,
    ) -> AudioLM:
        """Loads a folder in the hub layout, or a hub id; parameters as of `Pipeline`.

        dtype: of the language models; the codec and the semantic encoder compute in fp32. Raises
        InputError for what is wrong.
        """
        place = {"revision": revision, "variant": variant, "progress": progress}
        return cls.from_opened(open_checkpoint(model, dtype, families=(FAMILY,), **place))

    @classmethod
    def from_opened(cls, opened: OpenCheckpoint) -> AudioLM:
        """Loads the weights of an `OpenCheckpoint`. Raises InputError."""
        return cls(opened.load(), opened.dtype)

    def continuation(
        self,
        wave,
        *,
        seconds: float = 7.0,
        sample_rate: int | None = None,
        candidates: int = 1,
        temperature: float | Sequence[float] | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = 0,
        first_clip: int = 0,
        progress: bool = True,
    ) -> Output:
        """The recordings' ends, as long as a prompt, and what follows them.

        The prompt's tokens stand unchanged in the result, and both are decoded together, so that
        nothing clicks. wave: recordings, which must then be of one length. seconds: of what is
        added. candidates: continuations of each. temperature: of all stages, or of the semantic,
        coarse and fine one; for it, top_k and top_p, None is the model's own. seed: None or -1
        draws one; clip i draws from the seed and first_clip + i alone. Raises InputError for values
        that it cannot use, NumericalError for NaN.
        """
        request = check_request(
            self.config,
            "continuation",
            self._recordings(wave, sample_rate, last=self.config.sequences.prompt),
            seconds=seconds,
            candidates=candidates,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            first_clip=first_clip,
        )
        return self.run(request, progress=progress)

    def generate(
        self,
        *,
        seconds: float = 10.0,
        candidates: int = 1,
        temperature: float | Sequence[float] | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = 0,
        first_clip: int = 0,
        progress: bool = True,
    ) -> Output:
        """Clips without a prompt, [1, n, samples]. Parameters as of `continuation`."""
        request = check_request(
            self.config,
            "generation",
            (),
            seconds=seconds,
            candidates=candidates,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            first_clip=first_clip,
        )
        return self.run(request, progress=progress)

    def acoustic_generation(
        self,
        wave,
        *,
        sample_rate: int | None = None,
        candidates: int = 1,
        temperature: float | Sequence[float] | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = 0,
        first_clip: int = 0,
        progress: bool = True,
    ) -> Output:
        """New sound for the semantic tokens of whole recordings of one length.

        What is said stays; the voice and the room are drawn (section IV-C). Parameters as of
        `continuation`.
        """
        request = check_request(
            self.config,
            "acoustic generation",
            [self.tokenization.whole(r) for r in self._recordings(wave, sample_rate)],
            candidates=candidates,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            first_clip=first_clip,
        )
        return self.run(request, progress=progress)

    def resynthesize(
        self, wave, *, sample_rate: int | None = None, levels: int | None = None
    ) -> Output:
        """What the codec keeps of whole recordings of one length. levels: None is all of them."""
        most = self.config.codec.levels
        levels = most if levels is None else check_count("levels", levels, 1, most)
        recordings = self._recordings(wave, sample_rate)
        request = check_request(self.config, "resynthesis", recordings)
        waves = self.tokenization.resynthesize(recordings, levels)
        return self._output(request, waves)

    def log_likelihood(
        self, waves, *, sample_rate: int | None = None, normalized: bool = True
    ) -> np.ndarray:
        """Log-probabilities of recordings' semantic tokens by the first stage: [P] fp32.

        waves: of any lengths that the stage reads. normalized: divided by the number of tokens, as
        the paper does for sWUGGY and sBLIMP (section IV-B). Raises InputError.
        """
        totals = []
        for recording in self._recordings(waves, sample_rate):
            check_lengths(self.tokenization.clock, [recording])
            (row,) = self.tokenization.rows(self.tokenization.semantic_ids([recording]))
            # A token tells where the sequence begins.
            if len(row) >= (most := self.config.semantic_lm.max_tokens):
                raise InputError(
                    f"{recording.name}: {len(row)} semantic tokens, but semantic_lm takes at most "
                    f"{most - 1}; cut it into shorter recordings"
                )
            totals.append(self.stages.log_likelihood(row, normalized=normalized))
        return np.asarray(totals, np.float32)

    def run(self, request: Request, *, progress: bool = True) -> Output:
        """The clips of a checked request; see `pieces`."""
        *_, tokens = self.pieces(request, progress=progress)
        return self.output(request, tokens)

    def pieces(self, request: Request, *, progress: bool = True) -> Iterator[Tokens]:
        """Yields the tokens of a request's clips after each piece; the last ones are whole.

        `output` makes clips of any of them. Raises InputError for what does not fit into memory.
        """
        needed = check_memory(self.config, request, self.dtype)
        if progress:
            print(memory_line(tree.nbytes(self.params), needed), file=sys.stderr)
        tokens, recordings = self.tokenization, request.recordings
        cascade = Cascade(tokens, self.stages)
        seconds = float(request.periods * tokens.clock.period)
        with seconds_bar(request.mode, seconds, visible=progress) as report:
            if request.mode == "acoustic generation":
                ids = tokens.semantic_ids(recordings).repeat(request.candidates, 0)
                yield from cascade.render(ids, request, report)
            else:
                start = tokens.encode(recordings) if recordings else tokens.empty()
                yield from cascade.extend(start.repeated(request.candidates), request, report)

    def output(self, request: Request, tokens: Tokens) -> Output:
        """The clips of tokens. Raises NumericalError for NaN."""
        waves = self.tokenization.decode(tokens.codes)[:, : request.samples]
        return self._output(request, waves)

    def _recordings(self, wave, sample_rate, last: float | None = None) -> list[Recording]:
        rate = self.sample_rate if sample_rate is None else sample_rate
        return recordings_of(wave, rate, last=last)

    def _output(self, request: Request, waves: np.ndarray) -> Output:
        check_finite(waves, self.dtype)
        waves = waves.reshape(request.prompts, -1, waves.shape[-1])
        metadata = self._describe(request, waves.shape[-1])

        def score() -> np.ndarray:
            clips = list(waves.reshape(-1, waves.shape[-1]))
            return self.log_likelihood(clips).reshape(waves.shape[:2])

        return Output(waves, self.sample_rate, metadata, score)

    def _describe(self, request: Request, samples: int) -> dict:
        """What a clip's record says: all it takes to make the clip again."""
        recordings, sampling = request.recordings, request.sampling
        seconds = samples / self.sample_rate
        prompt = recordings[0].seconds if request.mode == "continuation" else 0.0
        return {
            "model": self.source,
            "mode": request.mode,
            "dtype": jnp.dtype(self.dtype).name,
            **machine(),
            "prompts": [recording.name for recording in recordings] or [request.mode],
            "transcriptions": None,
            "negative_prompts": [],
            "seconds": seconds,
            "prompt_seconds": prompt,
            "candidates": request.candidates,
            "seed": request.seed,
            "first_clip": request.first_clip,
            "temperature": list(sampling.temperature),
            "top_k": sampling.top_k,
            "top_p": sampling.top_p,
        }
