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

# Numbers that a piece's key is folded with.
_SEMANTIC, _COARSE, _FINE = range(3)


def clip_keys(request: Request) -> jax.Array:
    """A key for each clip of a request, [B]."""
    numbers = np.arange(request.first_clip, request.first_clip + request.clips, dtype=np.uint32)
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(request.seed), numbers)


def folded(keys: jax.Array, number: int) -> jax.Array:
    """The keys of a part of each clip. keys: [B] -> [B]."""
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)


class Cascade:
    """The three stages over the tokens of clips."""

    def __init__(self, tokens: Tokenization, stages: Stages):
        self._tokens, self._stages = tokens, stages
        self._clock, lengths = tokens.clock, tokens.sequences
        self._piece = self._clock.whole(lengths.piece)
        self._chunk = max(1, self._clock.whole(lengths.chunk)) * self._clock.frames

    def extend(
        self, tokens: Tokens, periods: int, request: Request, report: Report
    ) -> Iterator[Tokens]:
        """Yields the clips' tokens after each piece, until there are so many periods more."""
        keys, done, piece = clip_keys(request), 0, 0
        while done < periods:
            context = self._context(tokens.codes)
            new = min(periods - done, self._piece - context)
            own = folded(keys, piece)
            known = tokens.semantic if piece == 0 else self._tokens.last_semantic(tokens)
            counts = [self._tokens.semantic_count(row, context, new) for row in known]
            added = self._stages.semantic(
                known, counts, folded(own, _SEMANTIC), request.sampling, report
            )
            semantic = [np.concatenate(rows) for rows in zip(known, added)]
            tokens = self._render(tokens.codes, semantic, new, own, request, report)
            done, piece = done + new, piece + 1
            yield tokens

    def render(self, ids: np.ndarray, request: Request, report: Report) -> Iterator[Tokens]:
        """The same for known semantic tokens with repeats, of whole periods. ids: [B, T]."""
        keys, count = clip_keys(request), self._clock.tokens
        codes = np.zeros((len(ids), 0, self._tokens.levels), np.int32)
        periods, done, piece = ids.shape[1] // count, 0, 0
        while done < periods:
            context = self._context(codes)
            new = min(periods - done, self._piece - context)
            semantic = self._tokens.rows(ids[:, (done - context) * count : (done + new) * count])
            tokens = self._render(codes, semantic, new, folded(keys, piece), request, report)
            codes, done, piece = tokens.codes, done + new, piece + 1
            yield tokens

    def _context(self, codes: np.ndarray) -> int:
        """The periods at the end of codes that the next piece begins with."""
        return min(codes.shape[1] // self._clock.frames, self._tokens.context)

    def _render(self, codes, semantic, periods: int, keys, request: Request, report) -> Tokens:
        """Clips with so many periods more. semantic: of the piece, its context included."""
        known = codes[:, codes.shape[1] - self._context(codes) * self._clock.frames :]
        coarse = self._stages.coarse(
            semantic,
            known,
            periods * self._clock.frames,
            folded(keys, _COARSE),
            request.sampling,
            report,
        )
        new = self._refine(coarse, folded(keys, _FINE), request, report)
        return Tokens(np.concatenate([codes, new], 1), semantic)

    def _refine(self, coarse: np.ndarray, keys, request: Request, report) -> np.ndarray:
        """All levels of coarse codes, chunk beside chunk. [B, T, Q'] -> [B, T, Q]."""
        batch, frames, levels = coarse.shape
        if levels == self._tokens.levels:
            return coarse
        size = min(self._chunk, frames)
        count = -(-frames // size)
        chunks = np.pad(coarse, ((0, 0), (0, count * size - frames), (0, 0)))
        chunks = chunks.reshape(batch * count, size, levels)
        lengths = np.minimum(size, frames - size * np.arange(count))
        own = jax.vmap(lambda key: jax.vmap(lambda i: jax.random.fold_in(key, i))(np.arange(count)))
        fine = self._stages.fine(
            chunks, np.tile(lengths, batch), own(keys).reshape(-1), request.sampling, report
        )
        codes = np.concatenate([chunks, fine], -1).reshape(batch, count * size, -1)
        return codes[:, :frames]
