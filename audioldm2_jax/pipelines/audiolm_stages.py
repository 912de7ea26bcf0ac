"""AudioLM's language models with their weights, over rows of tokens on the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import numpy as np

from audioldm2_jax.decoding import stages
from audioldm2_jax.decoding.sampling import sampling
from audioldm2_jax.decoding.stages import Options
from audioldm2_jax.pipelines.audiolm_request import Sampling
from audioldm2_jax.presets.audiolm import AudioLMConfig

Report = Callable[[float], None]


class Stages:
    """The three stages. dtype: of weights, activations and caches."""

    def __init__(self, config: AudioLMConfig, params: dict, dtype):
        """params: by part, as read or as `stages.prepare` returns them, which are faster."""
        self._config, self._options, self._params = config, Options(dtype=dtype), params

    def semantic(
        self,
        rows: Sequence[np.ndarray],
        counts: Sequence[int],
        keys: jax.Array,
        draw: Sampling,
        report: Report,
    ) -> list[np.ndarray]:
        """Each row of semantic tokens with counts[b] more. report: see `decoding.stages`."""
        config = self._config.semantic_lm
        ids, lengths = padded(rows)
        settings = self._settings(draw, 0, len(rows))
        new, _ = stages.continue_semantic(
            self._params["semantic_lm"],
            config,
            ids,
            lengths,
            max(counts),
            keys,
            settings,
            self._options,
            report,
        )
        return [np.concatenate([row, tokens[:n]]) for row, tokens, n in zip(rows, new, counts)]

    def acoustic(
        self,
        rows: Sequence[np.ndarray],
        codes: np.ndarray,
        frames: int,
        keys: Sequence[jax.Array],
        draw: Sampling,
        report: Report,
    ) -> np.ndarray:
        """So many frames of codes behind codes [B, T, Q], in all levels: [B, frames, Q].

        rows: semantic tokens of all T + frames. keys: of the coarse and of the fine stage. report:
        see `decoding.stages`, of both stages together.
        """
        config, batch = self._config, len(codes)
        share = self._coarse_share(frames)
        ids, lengths = padded(rows)
        known = np.full(batch, codes.shape[1])
        coarse, _ = stages.continue_coarse(
            self._params["coarse_lm"],
            config.coarse_lm,
            ids,
            lengths,
            codes,
            known,
            frames,
            keys[0],
            self._settings(draw, 1, batch),
            self._options,
            lambda done: report(share * done),
        )
        if config.fine_lm is None:
            return coarse
        given = np.concatenate([codes[..., : coarse.shape[-1]], coarse], 1)
        whole = stages.fill_fine(
            self._params["fine_lm"],
            config.fine_lm,
            given,
            known + frames,
            codes,
            known,
            keys[1],
            self._settings(draw, 2, batch),
            self._options,
            lambda done: report((1 - share) * done),
        )
        return whole[:, codes.shape[1] :]

    def _coarse_share(self, frames: int) -> float:
        """The part of the steps of `acoustic` that are the coarse stage's."""
        coarse, fine = self._config.coarse_lm, self._config.fine_lm
        steps = frames * coarse.predicted
        return 1.0 if fine is None else steps / (steps + min(frames, fine.chunk) * fine.predicted)

    def log_likelihood(self, row: np.ndarray, *, normalized: bool) -> float:
        """Log-probability of semantic tokens [T] by the first stage."""
        config, params = self._config.semantic_lm, self._params["semantic_lm"]
        total = stages.log_likelihood(
            params, config, row[None], [len(row)], normalize=normalized, options=self._options
        )
        return float(total[0])

    @staticmethod
    def _settings(draw: Sampling, stage: int, batch: int):
        return sampling(
            batch,
            temperature=draw.temperature[stage],
            top_k=draw.top_k or 0,
            top_p=draw.top_p or 1.0,
        )


def padded(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of several lengths as one array, with their lengths: ([B, T], [B])."""
    lengths = np.array([len(row) for row in rows])
    ids = np.zeros((len(rows), max(1, lengths.max())), np.int32)
    for row, tokens in zip(ids, rows):
        row[: len(tokens)] = tokens
    return ids, lengths
