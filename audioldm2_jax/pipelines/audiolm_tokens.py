"""Recordings to AudioLM's tokens and back, on one clock."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from audioldm2_jax import backend
from audioldm2_jax.checkpoints.single import Single
from audioldm2_jax.encoders.codec import Codec
from audioldm2_jax.encoders.repeats import deduplicate
from audioldm2_jax.encoders.semantic import SemanticTokenizer
from audioldm2_jax.errors import InputError
from audioldm2_jax.pipelines.recordings import Recording
from audioldm2_jax.presets.audiolm import AudioLMConfig, Clock


@dataclass
class Tokens:
    """What there is of B clips.

    codes: [B, T, Q] of the codec, the prompt's first. semantic: of each clip the semantic tokens of
    the last piece, its context included.
    """

    codes: np.ndarray
    semantic: list[np.ndarray]

    def repeated(self, count: int) -> Tokens:
        """Each clip `count` times."""
        rows = [row for row in self.semantic for _ in range(count)]
        return Tokens(self.codes.repeat(count, 0), rows)


class Tokenization:
    """The codec and the semantic tokenizer of a checkpoint, in fp32: rounding changes tokens.

    levels: of the codec, as far as the language models know them. clock: of the tokens. context:
    the longest prompt in periods of the clock.
    """

    def __init__(self, config: AudioLMConfig, params: dict):
        name = config.codec_name
        self.codec = Codec(Single(name, config.codec, params[name]))
        self.semantic = SemanticTokenizer.from_parts(config, params)
        self.sequences, self.levels, self.clock = config.sequences, config.levels, Clock.of(config)
        self.context = self.clock.whole(config.sequences.prompt)

    def empty(self) -> Tokens:
        """A clip without a prompt."""
        return Tokens(np.zeros((1, 0, self.levels), np.int32), [np.zeros(0, np.int32)])

    def whole(self, recording: Recording) -> Recording:
        """The recording's whole periods from its beginning."""
        periods = max(1, self.periods(recording))
        samples = self.clock.samples(periods, recording.sample_rate)
        return dataclasses.replace(recording, wave=recording.wave[:samples])

    def periods(self, recording: Recording) -> int:
        """The whole periods of a recording."""
        return self.clock.whole(recording.seconds)

    def encode(self, recordings: Sequence[Recording]) -> Tokens:
        """The tokens of recordings of one length, of its last whole periods."""
        periods, rate = self.periods(recordings[0]), self.codec.sample_rate
        waves = np.stack([self._end(recording, periods, rate) for recording in recordings])
        codes = np.asarray(self.codec.encode(waves, self.levels), np.int32)
        return Tokens(codes, self.rows(self.semantic_ids(recordings)))

    def semantic_ids(self, recordings: Sequence[Recording]) -> np.ndarray:
        """Semantic tokens with repeats, of the last whole periods of one length: [P, T]."""
        periods, rate = self.periods(recordings[0]), self.semantic.sample_rate
        return self._ids(np.stack([self._end(r, periods, rate) for r in recordings]))

    def _ids(self, waves: np.ndarray) -> np.ndarray:
        """[B, samples] of whole periods -> [B, T]."""
        # The last frame's window ends behind the clip.
        config = self.semantic.encoder.config
        waves = np.pad(waves, ((0, 0), (0, config.window - config.hop)))
        return np.asarray(self.semantic.encode(waves), np.int32)

    def _end(self, recording: Recording, periods: int, rate: int) -> np.ndarray:
        """The last periods of a recording at a rate, [samples]."""
        samples = self.clock.samples(periods, rate)
        wave = recording.at(rate)[-samples:]
        # Resampling may round to a sample less.
        return np.pad(wave, (samples - len(wave), 0))

    def rows(self, ids: np.ndarray) -> list[np.ndarray]:
        """Semantic tokens as the language models read them: [B, T] -> B rows."""
        if not self.sequences.remove_repeats:
            return list(ids)
        values, _, counts = (np.asarray(x) for x in deduplicate(ids))
        return [row[:count] for row, count in zip(values, counts)]

    def last_semantic(self, tokens: Tokens) -> list[np.ndarray]:
        """The semantic tokens of the last `context` periods of clips that are at least so long.

        Tokens without repeats tell no time, so that the sound itself is tokenised again.
        """
        if not self.sequences.remove_repeats:
            return [row[-self.context * self.clock.tokens :] for row in tokens.semantic]
        frames = 2 * self.context * self.clock.frames
        waves = self.decode(tokens.codes[:, -frames:])
        rate = self.codec.sample_rate
        ends = waves[:, -self.clock.samples(self.context, rate) :]
        ends = [Recording(wave, rate, "") for wave in ends]
        return self.rows(self.semantic_ids(ends))

    def semantic_count(self, row: np.ndarray, context: int, periods: int) -> int:
        """How many semantic tokens so many periods have, behind a row of `context` periods.

        Without repeats, as many a second as in the row.
        """
        most, lengths = periods * self.clock.tokens, self.sequences
        if not lengths.remove_repeats:
            return most
        rate = lengths.unique_rate or lengths.semantic_rate
        share = len(row) / context if context else rate * float(self.clock.period)
        return min(max(1, round(share * periods)), most)

    def resynthesize(self, recordings: Sequence[Recording], levels: int) -> np.ndarray:
        """What so many levels keep of whole recordings, of as many samples: [P, samples].

        Raises InputError for recordings of several lengths.
        """
        waves = [recording.at(self.codec.sample_rate) for recording in recordings]
        if len({len(wave) for wave in waves}) > 1:
            raise InputError("recordings of several lengths: those of one call are of one length")
        codes = self.codec.encode(np.stack(waves), levels)
        return self.decode(codes)[:, : len(waves[0])]

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """[B, T, Q] -> waveforms [B, samples] fp32."""
        size = backend.current().decoded_clips
        groups = (codes[i : i + size] for i in range(0, len(codes), size))
        return np.concatenate([self.codec.decode(group) for group in groups])
