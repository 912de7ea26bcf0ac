"""AudioLM's three stages on tokens: continued, filled, and their likelihood.

`continue_semantic` extends semantic tokens, `continue_coarse` the first levels of acoustic codes,
given all semantic tokens; `fill_fine` adds the other levels, chunk by chunk. Arguments and results
are numpy arrays of ragged rows: [B, T, ...] of which the first lengths[b] count. keys: [B], one for
each clip (`sampling.clip_keys`); a clip's tokens depend on its own arguments alone, up to rounding.
settings: of `sampling.sampling(B, ...)`; the paper's temperatures are `TEMPERATURES`. Programs are
compiled for a few lengths (`generate.bucket`), whatever the prompts and the steps are. Parameters
are those of `models.token_lm`, as read or after `prepare`, which makes decoding faster. report:
called with shares of a call's work as they are done; it may raise, to end the call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax.decoding import layout
from audioldm2_jax.decoding.generate import align_right, bucket, roll_out
from audioldm2_jax.decoding.sampling import Sampling, draw, step_keys
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.decoder import grow_cache, merge_products
from audioldm2_jax.models.token_lm import TokenLM
from audioldm2_jax.presets import TokenLMConfig

# Of the semantic, the coarse and the fine stage.
TEMPERATURES = (0.6, 0.8, 0.6)


class Options(NamedTuple):
    """How the model computes. dtype: of activations; cache: of keys and values, None for `dtype`.

    ends: whether END may be drawn. rows: chunks that `fill_fine` computes at once. segment: steps
    that one program runs, between two reports.
    """

    dtype: Any = jnp.float32
    cache: Any = None
    ends: bool = False
    rows: int = 8
    segment: int = 64


DEFAULT = Options()


def _ignore(share: float) -> None:
    """The report of nobody."""


def prepare(params: dict) -> dict:
    """Parameters of a `TokenLM`, rearranged for decoding; results are the same up to rounding."""
    return params | {"decoder": merge_products(params["decoder"])}


def continue_semantic(
    params: dict,
    config: TokenLMConfig,
    ids,
    lengths,
    steps: int,
    keys,
    settings: Sampling,
    options: Options = DEFAULT,
    report: Callable[[float], None] = _ignore,
) -> tuple[np.ndarray, np.ndarray]:
    """New semantic tokens behind ids [B, T]: (tokens [B, steps], how many of each row count [B]).

    The count is less than `steps` where a row ended. Raises InputError for tokens out of range and
    for sequences longer than `max_tokens`.
    """
    tokens, lengths = layout.semantic_prompt(config, ids, lengths)
    return _continued(params, config, tokens, lengths, steps, keys, settings, options, report)


def continue_coarse(
    params: dict,
    config: TokenLMConfig,
    ids,
    lengths,
    codes,
    frames,
    steps: int,
    keys,
    settings: Sampling,
    options: Options = DEFAULT,
    report: Callable[[float], None] = _ignore,
) -> tuple[np.ndarray, np.ndarray]:
    """New frames of coarse codes: (codes [B, steps, levels], how many frames of each row count).

    ids: [B, T], semantic tokens of the prompt and what follows; codes: [B, F, levels or more], of
    which frames[b] are known (0 for none). Raises InputError as `continue_semantic`.
    """
    tokens, lengths = layout.coarse_prompt(config, ids, lengths, codes, frames)
    return _continued(params, config, tokens, lengths, steps, keys, settings, options, report)


def _continued(params, config, tokens, lengths, frames, keys, settings, options, report):
    if frames < 1:
        raise InputError(f"the {config.stage} language model cannot continue by {frames} frames")
    steps = frames * config.predicted
    tokens = _generate(params, config, tokens, lengths, steps, keys, settings, options, report)
    # END stands at a frame's start, and is repeated.
    ended = tokens[:, :: config.predicted] == layout.END
    counts = np.where(ended.any(1), ended.argmax(1), frames)
    codes = layout.codes_of(config, tokens)
    beyond = np.arange(frames) >= counts[:, None]
    codes[beyond] = 0
    return codes, counts.astype(np.int32)


def fill_fine(
    params: dict,
    config: TokenLMConfig,
    coarse,
    frames,
    codes,
    known,
    keys,
    settings: Sampling,
    options: Options = DEFAULT,
    report: Callable[[float], None] = _ignore,
) -> np.ndarray:
    """All levels of clips whose first ones are given: codes [B, F, levels], 0 beyond frames[b].

    coarse: [B, F, given or more] of frames [B]; codes: [B, F', levels], of which known[b] frames
    are those of a prompt: they stand in the result unchanged. Clips are cut into chunks of
    `config.chunk` frames, which are rows of a batch. Raises InputError as `continue_semantic`.
    """
    coarse, codes = np.asarray(coarse), np.asarray(codes)
    frames, known = np.asarray(frames), np.minimum(known, frames)
    out = np.zeros((*coarse.shape[:2], config.levels), np.int32)
    for row, count in enumerate(frames):
        out[row, :count, : config.given] = coarse[row, :count, : config.given]
        out[row, : known[row]] = codes[row, : known[row]]
    chunks = [
        (row, start)
        for row in range(len(out))
        for start in range(0, frames[row], config.chunk)
        if start + config.chunk > known[row] and known[row] < frames[row]
    ]
    groups = [chunks[i : i + options.rows] for i in range(0, len(chunks), options.rows)]

    def report_group(share: float) -> None:
        report(share / len(groups))

    for group in groups:
        fixed = out, frames, known, keys, settings, options, report_group
        _fill(params, config, *fixed, group)
    return out


def _fill(params, config, out, frames, known, keys, settings, options, report, chunks):
    """Writes the predicted levels of some chunks, (row, first frame), into `out`."""
    rows = np.array([row for row, _ in chunks])
    starts = np.array([start for _, start in chunks])
    pieces = np.zeros((len(chunks), config.chunk, config.levels), np.int32)
    for piece, (row, start) in zip(pieces, chunks):
        whole = out[row, start : start + config.chunk]
        piece[: len(whole)] = whole
    lengths = np.minimum(frames[rows] - starts, config.chunk)
    fixed = np.clip(known[rows] - starts, 0, lengths)
    tokens, counts = layout.fine_prompt(config, pieces, lengths, pieces, fixed)
    own = jax.vmap(jax.random.fold_in)(keys[rows], starts // config.chunk)
    steps = int((lengths - fixed).max()) * config.predicted
    settings = jax.tree.map(lambda value: value[rows], settings)
    new = _generate(params, config, tokens, counts, steps, own, settings, options, report)
    new = layout.codes_of(config, new)
    for i, (row, start) in enumerate(chunks):
        first, last = start + fixed[i], start + lengths[i]
        out[row, first:last, config.given :] = new[i, : last - first]


def log_likelihood(
    params: dict,
    config: TokenLMConfig,
    ids,
    lengths,
    *,
    normalize: bool = True,
    options: Options = DEFAULT,
) -> np.ndarray:
    """Log-probability of each row's semantic tokens, in nats, by the first stage: [B] float32.

    ids: [B, T]; normalize: divided by the row's length, as sWUGGY and sBLIMP are scored in the
    paper. Chances are among semantic tokens alone. Raises InputError as `continue_semantic`, and
    for a row without tokens.
    """
    lengths = np.asarray(lengths)
    if lengths.min(initial=1) < 1:
        raise InputError("a clip without semantic tokens has no likelihood")
    tokens, counts = layout.semantic_prompt(config, ids, lengths)
    _check_length(config, counts.max(), 0)
    slots = bucket(tokens.shape[1])
    tokens = np.pad(tokens, ((0, 0), (0, slots - tokens.shape[1])))
    total = np.asarray(_total_log_likelihood(params, tokens, counts, config, options.dtype))
    return total / lengths if normalize else total


@functools.partial(jax.jit, static_argnums=(3, 4))
def _total_log_likelihood(params, tokens, counts, config, dtype):
    model = TokenLM(config, dtype)
    states, _ = model.apply({"params": params}, tokens, method="states")
    low, high = layout.legal(config)[0]
    logits = model.apply({"params": params}, states[:, :-1], low, high - low, method="logits")
    targets = jnp.clip(tokens[:, 1:] - low, 0, high - low - 1)
    each = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], -1)[..., 0]
    return jnp.where(jnp.arange(1, tokens.shape[1]) < counts[:, None], each, 0).sum(-1)


def _check_length(config, prompt: int, steps: int) -> None:
    if prompt + steps > config.max_tokens:
        raise InputError(
            f"the {config.stage} language model takes {config.max_tokens} tokens: a prompt of "
            f"{prompt} and {steps} new ones do not fit; shorten the prompt or the continuation"
        )


def _generate(
    params, config, tokens, lengths, steps, keys, settings, options, report=_ignore
) -> np.ndarray:
    """[B, steps] tokens behind prompts [B, L] of lengths [B]."""
    _check_length(config, lengths.max(initial=0), 0 if config.stage == "fine" else steps)
    prompt, starts = align_right(tokens, lengths, bucket(tokens.shape[1]), layout.PAD)
    states, cache = _read(params, prompt, starts, config, bucket(steps), options)
    fixed = params, starts, keys, settings
    out = np.full((len(prompt), steps), layout.END, np.int32)
    ended = np.zeros(len(prompt), bool)
    for first in range(0, steps, options.segment):
        count = min(options.segment, steps - first)
        place = np.int32(prompt.shape[1]), np.int32(first), np.int32(count)
        new, ended, states, cache = _write(states, cache, ended, *place, *fixed, config, options)
        out[:, first : first + count] = new[:, :count]
        report(count / steps)
        if np.all(ended):
            break
    return out


@functools.partial(jax.jit, static_argnames=("config", "slots", "options"))
def _read(params, prompt, starts, config, slots, options):
    """The last state [B, D] of a prompt, and its cache with so many more slots."""
    model = TokenLM(config, options.dtype)
    states, cache = model.apply({"params": params}, prompt, starts=starts, method="states")
    cache = grow_cache(cache, prompt.shape[1] + slots, options.cache or options.dtype)
    return states[:, -1], cache


@functools.partial(jax.jit, static_argnames=("config", "options"))
def _write(
    states, cache, ended, prompt, first, count, params, starts, keys, settings, config, options
):
    """(tokens [B, segment], rows that ended [B], the state behind the tokens, the cache).

    Of steps first..first+count of all. states: [B, D] before them; prompt: slots before all steps.
    """
    apply = functools.partial(TokenLM(config, options.dtype).apply, {"params": params})
    ranges = layout.legal(config)
    firsts, width = jnp.asarray(ranges[:, 0]), int(ranges[0, 1] - ranges[0, 0])

    def step(tokens, cache, index):
        slot = prompt + first + index
        states, cache = apply(tokens[:, None], cache, slot, starts, method="states")
        return states[:, 0], cache

    def choose(states, index):
        level = (first + index) % len(ranges)
        logits = apply(states, firsts[level], width, method="logits")
        if options.ends:
            end = apply(states, layout.END, 1, method="logits")
            logits = jnp.concatenate([logits, jnp.where(level == 0, end, -jnp.inf)], -1)
        token = draw(logits, step_keys(keys, first + index), settings)
        return jnp.where(ended | (token == width), layout.END, firsts[level] + token)

    done = (lambda tokens: tokens == layout.END) if options.ends else None
    steps = options.segment
    out, cache, last = roll_out(states, cache, step, choose, steps, count=count, done=done)
    return out, last == layout.END, *step(last, cache, count - 1)
