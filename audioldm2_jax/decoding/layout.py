"""Token layout of AudioLM's three stages (arXiv 2209.03143, section III).

A stage's vocabulary holds the special tokens, then its semantic tokens, then `codebook` tokens for
each acoustic level: levels share no token. Sequences, with the codes of a frame level by level:

    semantic   SEMANTIC z z z ...
    coarse     SEMANTIC z z z ... COARSE y1 y2 y3 y4 y1 y2 ...
    fine       COARSE y1 y2 y3 y4 y1 y2 ... FINE y5 ... y12 y5 ...

END may follow a whole frame alone. Tokens and lengths are numpy arrays here, on the host.
"""

from __future__ import annotations

import numpy as np

from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import TokenLMConfig
from audioldm2_jax.presets.language import SPECIAL

PAD, SEMANTIC, COARSE, FINE, END = range(SPECIAL)


def legal(config: TokenLMConfig) -> np.ndarray:
    """The tokens that each step of a frame may predict: [first, behind the last], [n, 2].

    The rows repeat from frame to frame. END, legal in row 0 besides, is not among them.
    """
    if config.stage == "semantic":
        return np.array([[SPECIAL, SPECIAL + config.semantic]], np.int32)
    first = _first(config) + np.arange(config.given, config.levels) * config.codebook
    return np.stack([first, first + config.codebook], -1).astype(np.int32)


def semantic_prompt(config: TokenLMConfig, ids, lengths) -> tuple[np.ndarray, np.ndarray]:
    """(tokens [B, L], their lengths [B]) of the semantic stage. ids: [B, T] of lengths [B]."""
    return _join(_lead(SEMANTIC, ids), _semantic(config, ids, lengths))


def coarse_prompt(
    config: TokenLMConfig, ids, lengths, codes, frames
) -> tuple[np.ndarray, np.ndarray]:
    """As `semantic_prompt`, of the coarse stage. codes: [B, F, Q] of frames [B], known already.

    Q: all levels of the stage, or more, of which the first are taken.
    """
    return _join(
        _lead(SEMANTIC, ids),
        _semantic(config, ids, lengths),
        _lead(COARSE, ids),
        _acoustic(config, codes, frames, 0, config.levels),
    )


def fine_prompt(
    config: TokenLMConfig, coarse, frames, codes, known
) -> tuple[np.ndarray, np.ndarray]:
    """As `semantic_prompt`, of the fine stage.

    coarse: [B, F, given or more] of frames [B]; codes: [B, F', levels], whose first known[b] frames
    are known in all levels.
    """
    return _join(
        _lead(COARSE, coarse),
        _acoustic(config, coarse, frames, 0, config.given),
        _lead(FINE, coarse),
        _acoustic(config, codes, known, config.given, config.levels),
    )


def codes_of(config: TokenLMConfig, tokens) -> np.ndarray:
    """Predicted tokens, from a frame's start, without special ones: [B, frames * n] -> codes.

    -> [B, frames] of the semantic stage; [B, frames, n] of the others.
    """
    low = legal(config)[:, 0]
    tokens = np.asarray(tokens).reshape(len(tokens), -1, len(low)) - low
    return tokens[..., 0] if config.stage == "semantic" else tokens


def _first(config):
    return SPECIAL + config.semantic


def _lead(token: int, rows):
    return np.full((len(rows), 1), token), np.ones(len(rows), int)


def _semantic(config, ids, lengths):
    ids, lengths = np.asarray(ids), np.asarray(lengths)
    _check("semantic tokens", ids, lengths, config.semantic)
    return ids + SPECIAL, lengths


def _acoustic(config, codes, frames, low: int, high: int):
    """The tokens of levels low..high of codes [B, F, Q], frames [B]."""
    codes, frames = np.asarray(codes), np.asarray(frames)
    if codes.shape[-1] < high:
        raise InputError(
            f"codes have {codes.shape[-1]} levels; the {config.stage} language model needs {high}"
        )
    codes = codes[..., low:high]
    _check("codes", codes, frames, config.codebook)
    tokens = codes + _first(config) + np.arange(low, high) * config.codebook
    return tokens.reshape(len(tokens), -1), frames * (high - low)


def _check(what: str, values, lengths, count: int) -> None:
    """Raises InputError for a value outside of [0, count) within its row's length."""
    counts = np.arange(values.shape[1]) < lengths[:, None]
    counts = counts.reshape(*counts.shape, *(1,) * (values.ndim - 2))
    wrong = values[np.broadcast_to(counts, values.shape) & ((values < 0) | (values >= count))]
    if wrong.size:
        raise InputError(f"{what} hold {wrong[0]}; the language model knows 0 to {count - 1}")


def _join(*pieces) -> tuple[np.ndarray, np.ndarray]:
    """Row by row, the first lengths[b] of each piece's tokens [B, L], one after the other."""
    lengths = sum(lengths for _, lengths in pieces)
    out = np.full((len(lengths), int(lengths.max(initial=0))), PAD, np.int32)
    at = np.zeros(len(lengths), int)
    for tokens, count in pieces:
        for row in range(len(out)):
            out[row, at[row] : at[row] + count[row]] = tokens[row, : count[row]]
        at = at + count
    return out, lengths
