"""Token streams of MusicGen: windows, their programs, and the memory that these take."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax import tree
from audioldm2_jax.decoding.delay import delayed, undelayed
from audioldm2_jax.decoding.generate import bucket
from audioldm2_jax.decoding.sampling import sampling
from audioldm2_jax.models.decoder import empty_cache
from audioldm2_jax.pipelines.memory import memory_line
from audioldm2_jax.pipelines.music_request import MusicRequest
from audioldm2_jax.pipelines.programs import musicgen
from audioldm2_jax.pipelines.programs.musicgen import MusicProgram
from audioldm2_jax.pipelines.runner import Runner, check_fits, needed_memory, result_shapes
from audioldm2_jax.presets import MusicGenConfig, MusicGenLMConfig

# Positions between two signs of progress: half a second of sound.
_STEPS = 25


def windows(config: MusicGenLMConfig, known: int, frames: int) -> list[tuple[int, int, int]]:
    """(first frame, known frames, end) of each window of a piece of so many frames.

    known: frames that there are. A piece longer than the window of training is made in several,
    each of which begins with the last `config.kept` frames of what there is.
    """
    result, begin, done = [], 0, known
    while done < frames:
        if begin + config.window < frames:
            begin = max(begin, done - config.kept)
        end = min(frames, begin + config.window)
        result.append((begin, done - begin, end))
        done = end
    return result


class Streams:
    """The compiled programs of requests of one kind. request: decides shapes and settings.

    tokens: shape [B, S] of the texts' tokens. known: frames that the clips begin with.
    """

    def __init__(
        self,
        runner: Runner,
        config: MusicGenConfig,
        params: Mapping,
        request: MusicRequest,
        tokens: np.ndarray,
        known: int,
        *,
        progress: bool,
    ):
        """Raises InputError if a program needs more memory than is free."""
        lm, clips = config.musicgen_lm, len(tokens)
        self.windows = windows(lm, known, request.frames)
        self._lm, self._dtype = lm, runner.dtype
        longest = max(end - begin for begin, _, end in self.windows)
        prompt = max(before for _, before, _ in self.windows)
        self.slots = bucket(1 + longest + max(lm.delays))
        self._prompt = bucket(prompt) if prompt else 0
        program = MusicProgram(config, runner.dtype, request.guided)
        self._rows = clips * (2 if request.guided else 1)
        self.settings = request.draws.settings(clips)
        self._guidance = np.array([clip.guidance for clip in request.clips], np.float32)
        encoders = {name: params[name] for name in ("t5", "musicgen_lm")}
        weights = {"musicgen_lm": params["musicgen_lm"]}

        def compiled(function, *arguments, label):
            return runner.compiled(function, program, *arguments, label=label, progress=progress)

        mask = jax.ShapeDtypeStruct(tokens.shape, bool)
        self.read = compiled(musicgen.read_texts, encoders, tokens, mask, label="text encoder")
        text, cache = result_shapes(self.read), jax.eval_shape(self.empty)
        sequence = jax.ShapeDtypeStruct((clips, self.slots, lm.levels), jnp.int32)
        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), clips))
        arguments = weights, cache, text, sequence, np.int32(0), np.int32(0), np.int32(0)
        settings = keys, self._guidance, self.settings
        self.advance = compiled(musicgen.advance, *arguments, *settings, label="language model")
        self.fill = None
        if self._prompt:
            first = jax.ShapeDtypeStruct((clips, self._prompt, lm.levels), jnp.int32)
            self.fill = compiled(musicgen.fill, weights, cache, text, first, label="prompt")
        programs = [p for p in (self.read, self.advance, self.fill) if p is not None]
        self.needed = tree.nbytes((text, cache)) + max(map(needed_memory, programs))
        check_fits(self.needed, f"{clips} clips of {request.seconds:g} s")

    def empty(self) -> tuple:
        """A cache of no tokens."""
        return empty_cache(self._lm.decoder, self._rows, self.slots, self._dtype)

    def window(self, params, text, codes, frames: int, first: int, keys, count) -> np.ndarray:
        """Codes [B, frames, Q] of a window that begins with `codes`. first: its frame in the piece.

        count: called with the positions that are done, now and then.
        """
        lm, weights = self._lm, {"musicgen_lm": params["musicgen_lm"]}
        sequence = delayed(codes, frames, lm.delays, lm.pad)
        length, slot, cache = sequence.shape[1], codes.shape[1], self.empty()
        padded = ((0, 0), (0, self.slots - length), (0, 0))
        sequence = jnp.asarray(np.pad(sequence, padded, constant_values=lm.pad))
        if slot:
            cache = self.fill(weights, cache, text, sequence[:, : self._prompt])
        while slot < length - 1:
            stop = min(slot + _STEPS, length - 1)
            cache, sequence = self.advance(
                *(weights, cache, text, sequence, np.int32(slot), np.int32(stop)),
                *(np.int32(first), keys, self._guidance, self.settings),
            )
            jax.block_until_ready(sequence)
            count(stop - slot)
            slot = stop
        return undelayed(np.asarray(sequence)[:, :length], lm.delays)


def generate_streams(
    streams: Streams, config: MusicGenConfig, params, tokens, mask, keys, codes, *, progress: bool
) -> np.ndarray:
    """Codes [B, frames, Q] of clips that begin with `codes` [B, F, Q], behind a bar in seconds.

    tokens, mask: [B, S] of T5; keys: [B], each clip's own.
    """
    from tqdm import tqdm

    if progress:
        print(memory_line(tree.nbytes(params), streams.needed), file=sys.stderr)
    encoders = {name: params[name] for name in ("t5", "musicgen_lm")}
    text = streams.read(encoders, tokens, mask)
    total = streams.windows[-1][2] - codes.shape[1]
    settings = {"desc": "generating", "unit": "s", "file": sys.stderr, "disable": not progress}
    layout = "{l_bar}{bar}| {n:.1f}/{total:.1f} s [{elapsed}<{remaining}]"
    with tqdm(total=total / config.frame_rate, bar_format=layout, **settings) as bar:
        for begin, known, end in streams.windows:
            steps = end - begin - known + max(config.musicgen_lm.delays)
            share = (end - begin - known) / config.frame_rate / steps
            window = streams.window(
                *(params, text, codes[:, begin : begin + known], end - begin, begin, keys),
                count=lambda n, share=share: bar.update(n * share),
            )
            codes = np.concatenate([codes[:, :begin], window], 1)
    return codes
