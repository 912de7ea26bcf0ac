"""MusicGen's token streams: windows, their programs, and the memory that these take."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax import backend, tree
from audioldm2_jax.decoding.delay import delayed, undelayed
from audioldm2_jax.decoding.generate import bucket
from audioldm2_jax.models.decoder import empty_cache, merge_products
from audioldm2_jax.pipelines.memory import model_shapes
from audioldm2_jax.pipelines.music_request import MusicRequest
from audioldm2_jax.pipelines.programs import musicgen
from audioldm2_jax.pipelines.programs.musicgen import MusicProgram
from audioldm2_jax.pipelines.runner import Runner, check_fits, needed_memory, result_shapes
from audioldm2_jax.presets import MusicGenConfig, MusicGenLMConfig

# Positions between two signs of progress: half a second of sound.
_STEPS = 25
_PARTS = ("t5", "musicgen_lm")
# The arguments of `musicgen.advance` that it returns changed: the cache and the sequence.
_STATE = (1, 3)


def windows(config: MusicGenLMConfig, known: int, frames: int) -> list[tuple[int, int, int]]:
    """(first frame, frame behind the known ones, end) of each window of a piece of `frames`.

    known: frames that there are. A piece longer than the window of training is made in several,
    each of which begins with the last `config.overlap` frames of what there is.
    """
    result, begin, done = [], 0, known
    while done < frames:
        if begin + config.window < frames:
            begin = max(begin, done - config.overlap)
        end = min(frames, begin + config.window)
        result.append((begin, done, end))
        done = end
    return result


class Streams:
    """The compiled programs of one request. needed: bytes that they take beside the weights."""

    def __init__(
        self,
        runner: Runner,
        config: MusicGenConfig,
        params: Mapping,
        request: MusicRequest,
        texts: tuple,
        known: int,
        *,
        progress: bool,
    ):
        """params: or their shapes. texts: T5's tokens and mask, [B, S]. known: frames that the
        clips begin with. Raises InputError if a program needs more memory than is free.
        """
        lm, rows = config.musicgen_lm, request.rows
        self.windows = windows(lm, known, known + request.frames)
        longest = max(end - begin for begin, _, end in self.windows)
        self._slots = bucket(1 + longest + max(lm.delays))
        prompt = max(done - begin for begin, done, _ in self.windows)
        self._prompt = min(bucket(prompt), self._slots) if prompt else 0
        self._lm, self._dtype = lm, runner.dtype
        self._rows = len(rows) * (2 if request.guided else 1)
        guidance = np.array([clip.guidance for clip in rows], np.float32)
        self._settings = guidance, request.draws.settings(len(rows))
        program = MusicProgram(config, runner.dtype, request.guided)

        def compiled(function, *arguments, **options):
            return runner.compiled(function, program, *arguments, **options, progress=progress)

        parts = {name: params[name] for name in _PARTS}
        weights = {"musicgen_lm": params["musicgen_lm"]}
        self._read = compiled(musicgen.read_texts, parts, *texts, label="text encoder")
        text, cache = result_shapes(self._read), jax.eval_shape(self._empty)
        sequence = jax.ShapeDtypeStruct((len(rows), self._slots, lm.levels), jnp.int32)
        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), len(rows)))
        arguments = weights, cache, text, sequence, *(np.int32(0),) * 3, keys, *self._settings
        self._advance = compiled(
            musicgen.advance, *arguments, label="language model", donate=_STATE
        )
        programs = [self._read, self._advance]
        if self._prompt:
            first = jax.ShapeDtypeStruct((len(rows), self._prompt, lm.levels), jnp.int32)
            self._fill = compiled(musicgen.fill, weights, cache, text, first, label="prompt")
            programs.append(self._fill)
        streams = tree.nbytes((text, cache)) + max(map(needed_memory, programs))
        self.needed = max(streams, decoding_bytes(config, known + request.frames))
        check_fits(self.needed, f"{len(rows)} clips of {request.frames / config.frame_rate:g} s")

    def _empty(self) -> tuple:
        return empty_cache(self._lm.decoder, self._rows, self._slots, self._dtype)

    def read(self, params: Mapping, texts: tuple) -> tuple:
        """The texts' keys and values, and their mask."""
        return self._read({name: params[name] for name in _PARTS}, *texts)

    def window(
        self, params: Mapping, text, codes, frames: int, first: int, keys, report: Callable
    ) -> np.ndarray:
        """Codes [B, frames, Q] of a window that begins with `codes` [B, F, Q].

        text: of `read`. first: the window's frame in the piece. keys: [B], each clip's own. report:
        called with numbers of positions that were done.
        """
        lm, weights = self._lm, {"musicgen_lm": params["musicgen_lm"]}
        sequence = delayed(codes, frames, lm.delays, lm.pad)
        length, slot, cache = sequence.shape[1], codes.shape[1], self._empty()
        padded = ((0, 0), (0, self._slots - length), (0, 0))
        sequence = jnp.asarray(np.pad(sequence, padded, constant_values=lm.pad))
        if slot:
            cache = self._fill(weights, cache, text, sequence[:, : self._prompt])
        while slot < length - 1:
            stop = min(slot + _STEPS, length - 1)
            place = np.int32(slot), np.int32(stop), np.int32(first)
            state = cache, text, sequence
            cache, sequence = self._advance(weights, *state, *place, keys, *self._settings)
            jax.block_until_ready(sequence)
            report(stop - slot)
            slot = stop
        return undelayed(np.asarray(sequence)[:, :length], lm.delays)


def decoding_bytes(config: MusicGenConfig, frames: int) -> int:
    """Bytes that the codec takes to decode so many frames of the clips that are decoded at once.

    4.5 values for each sample and channel of its last layer: as the compiler reports for EnCodec
    of 32 kHz on the CPU, at 5 s and at 20 s.
    """
    codec = config.encodec
    return backend.current().decoded_clips * frames * codec.hop * codec.filters * 18


def check_music_memory(config: MusicGenConfig, request: MusicRequest, dtype) -> None:
    """Raises InputError if a request certainly cannot fit; programs are checked exactly."""
    lm = config.musicgen_lm
    rows = len(request.rows) * (2 if request.guided else 1)
    slots = min(request.frames, lm.window)
    cache = jax.eval_shape(lambda: empty_cache(lm.decoder, rows, slots, dtype))
    seconds = request.frames / config.frame_rate
    least = max(tree.nbytes(cache), decoding_bytes(config, request.frames))
    check_fits(least, f"{len(request.rows)} clips of {seconds:g} s")


def estimate(
    config: MusicGenConfig, request: MusicRequest, dtype, *, quantize=None, progress: bool
) -> tuple[int, int]:
    """(bytes of the weights, bytes that the request takes beside them), for texts of usual length.

    Compiles the programs for shapes alone. quantize: as of `MusicGen.from_pretrained`. Raises
    InputError if one of them cannot run here.
    """
    shapes = model_shapes(config, dtype, quantize)
    lm = shapes["musicgen_lm"]
    lm["decoder"] = jax.eval_shape(merge_products, lm["decoder"])
    tokens = np.zeros((len(request.rows), 64), np.int32)
    texts = tokens, np.ones(tokens.shape, bool)
    streams = Streams(Runner(dtype), config, shapes, request, texts, 0, progress=progress)
    return tree.nbytes(shapes), streams.needed
