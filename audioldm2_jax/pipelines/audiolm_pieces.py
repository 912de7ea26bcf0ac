"""Tokens of longer and longer clips, piece by piece (AudioLM, section III-D).

A piece is as long as what the coarse stage has seen in training. It begins with the end of what
there is, as long as a prompt, whose tokens stay; the stages append the rest.
"""

from __future__ import annotations

from collections.abc import Iterator

import jax
import numpy as np

from audioldm2_jax.pipelines.audiolm_request import Request
from audioldm2_jax.pipelines.audiolm_stages import Report, Stages
from audioldm2_jax.pipelines.audiolm_tokens import Tokenization, Tokens

# The part of the time that the semantic stage takes, roughly: it has a tenth of the tokens.
_SEMANTIC = 0.05


def clip_keys(request: Request) -> jax.Array:
    """A key for each clip of a request, [B]."""
    numbers = np.arange(request.first_clip, request.first_clip + request.clips, dtype=np.uint32)
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(request.seed), numbers)


def piece_keys(keys: jax.Array, piece: int) -> list[jax.Array]:
    """The clips' keys of a piece's semantic, coarse and fine stage, each [B]."""
    return [jax.vmap(jax.random.fold_in, (0, None))(keys, 3 * piece + i) for i in range(3)]


class Cascade:
    """The three stages over the tokens of clips. piece: its length in periods of the clock."""

    def __init__(self, tokens: Tokenization, stages: Stages):
        self._tokens, self._stages = tokens, stages
        self.piece = tokens.clock.whole(tokens.sequences.piece)

    def extend(self, tokens: Tokens, request: Request, report: Report) -> Iterator[Tokens]:
        """Yields the clips' tokens after each piece, until they are `request.periods` longer.

        report: called with seconds of sound as they are done.
        """
        keys, done, piece = clip_keys(request), 0, 0
        while done < request.periods:
            context = self._context(tokens.codes)
            new = min(request.periods - done, self.piece - context)
            own = piece_keys(keys, piece)
            known = tokens.semantic if piece == 0 else self._tokens.last_semantic(tokens)
            counts = [self._tokens.semantic_count(row, context, new) for row in known]
            first, rest = self._reports(report, new, _SEMANTIC)
            semantic = self._stages.semantic(known, counts, own[0], request.sampling, first)
            tokens = self._render(tokens.codes, semantic, new, own, request, rest)
            done, piece = done + new, piece + 1
            yield tokens

    def render(self, ids: np.ndarray, request: Request, report: Report) -> Iterator[Tokens]:
        """The same for known semantic tokens with repeats, of whole periods. ids: [B, T]."""
        keys, count = clip_keys(request), self._tokens.clock.tokens
        codes = np.zeros((len(ids), 0, self._tokens.levels), np.int32)
        periods, done, piece = ids.shape[1] // count, 0, 0
        while done < periods:
            context = self._context(codes)
            new = min(periods - done, self.piece - context)
            semantic = self._tokens.rows(ids[:, (done - context) * count : (done + new) * count])
            own, (_, rest) = piece_keys(keys, piece), self._reports(report, new, 0.0)
            tokens = self._render(codes, semantic, new, own, request, rest)
            codes, done, piece = tokens.codes, done + new, piece + 1
            yield tokens

    def _reports(self, report: Report, periods: int, share: float) -> tuple[Report, Report]:
        """Reports of the semantic stage, which is so much of a piece, and of the others."""
        seconds = float(periods * self._tokens.clock.period)
        return (
            lambda done: report(seconds * share * done),
            lambda done: report(seconds * (1 - share) * done),
        )

    def _context(self, codes: np.ndarray) -> int:
        """The periods at the end of codes that the next piece begins with."""
        return min(codes.shape[1] // self._tokens.clock.frames, self._tokens.context)

    def _render(self, codes, semantic, periods: int, keys, request: Request, report) -> Tokens:
        """Clips with so many periods more. semantic: of the piece, its context included."""
        frames = self._tokens.clock.frames
        known = codes[:, codes.shape[1] - self._context(codes) * frames :]
        new = self._stages.acoustic(
            semantic, known, periods * frames, keys[1:], request.sampling, report
        )
        return Tokens(np.concatenate([codes, new], 1), semantic)
