"""AudioLM's stages on random weights: legal tokens, ends, prompts unchanged, likelihoods."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioldm2_jax.decoding import layout, stages
from audioldm2_jax.decoding.sampling import clip_keys, sampling
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.token_lm import TokenLM
from audioldm2_jax.presets import DecoderConfig, TokenLMConfig

DECODER = DecoderConfig(width=16, depth=1, heads=2, head_width=8, hidden=24)
SEMANTIC = TokenLMConfig("semantic", 6, 0, 0, 0, 200, DECODER)
COARSE = TokenLMConfig("coarse", 6, 4, 3, 0, 200, DECODER)
FINE = TokenLMConfig("fine", 0, 4, 5, 3, 2 + 5 * 8, DECODER)
GENERATOR = np.random.default_rng(0)
CODES = GENERATOR.integers(0, 4, (2, 20, 5))
IDS = GENERATOR.integers(0, 6, (2, 9))
ENDS, FEW = stages.Options(ends=True), stages.Options(rows=2)


def params_of(config):
    """Redrawn at scales near one, so that tokens depend on what precedes them."""
    tokens = jnp.zeros((1, 4), jnp.int32)
    shapes = jax.eval_shape(TokenLM(config).init, jax.random.key(0), tokens)["params"]
    generator = np.random.default_rng(1)

    def redraw(shape):
        draws = generator.standard_normal(shape.shape).astype(np.float32)
        return draws / shape.shape[0] ** 0.5 if len(shape.shape) > 1 else 1 + 0.1 * draws

    return jax.tree.map(redraw, shapes)


@pytest.fixture(scope="module")
def params():
    return {config.stage: params_of(config) for config in (SEMANTIC, COARSE, FINE)}


def test_every_token_is_legal(params):
    """64 clips of 60 coarse tokens, all of them likely: of its own level, END between frames."""
    ids, lengths, none = np.tile(IDS, (32, 1)), np.tile([9, 4], 32), np.zeros(64, int)
    arguments = params["coarse"], COARSE
    own = clip_keys(jax.random.key(0), 64), sampling(64, temperature=4.0), ENDS
    prompt = ids, lengths, np.zeros((64, 0, 3), int), none
    tokens = stages._generate(*arguments, *layout.coarse_prompt(COARSE, *prompt), 60, *own)
    low, high = np.tile(layout.legal(COARSE), (20, 1)).T
    legal, ended = (tokens >= low) & (tokens < high), tokens == layout.END
    assert (ended ^ legal).all() and all(len(set(tokens[:, i]) - {layout.END}) == 4 for i in (0, 1))
    first = np.where(ended.any(1), ended.argmax(1), 60)
    assert (first % 3 == 0).all() and len(set(first)) > 5
    assert all(row[at:].all() for row, at in zip(ended, first))
    codes, counts = stages.continue_coarse(*arguments, *prompt, 20, *own)
    np.testing.assert_array_equal(counts, first // 3)
    assert codes.shape == (64, 20, 3) and len(np.unique(codes)) == 4
    assert not any(row[count:].any() for row, count in zip(codes, counts))


def test_a_clips_tokens_are_its_own(params):
    """Clip 1 alone, in a shorter bucket, is clip 1 beside a longer one, token for token."""
    settings, keys = sampling(2, temperature=(1.0, 0.7)), clip_keys(jax.random.key(7), 2)
    codes = CODES[..., :3]
    arguments = 30, keys, settings
    both, counts = stages.continue_coarse(
        params["coarse"], COARSE, IDS, [9, 4], codes, [20, 2], *arguments
    )
    single = jax.tree.map(lambda x: x[1:], (keys, settings))
    prepared = stages.prepare(params["coarse"])
    alone, _ = stages.continue_coarse(prepared, COARSE, IDS[1:], [4], codes[1:], [2], 30, *single)
    assert both.shape == (2, 30, 3) and len(np.unique(both)) == 4 and counts.tolist() == [30, 30]
    np.testing.assert_array_equal(both[1], alone[0])


def test_fine_levels_chunk_by_chunk(params):
    """20 and 11 frames in chunks of 8; the prompt's codes stand, and chunks do not mix."""
    assert FINE.chunk == 8
    settings, keys = sampling(2), clip_keys(jax.random.key(3), 2)
    arguments = [20, 11], CODES, [10, 0], keys, settings
    out = stages.fill_fine(params["fine"], FINE, CODES[..., :3], *arguments, FEW)
    np.testing.assert_array_equal(out[0, :10], CODES[0, :10])
    np.testing.assert_array_equal(out[0, :, :3], CODES[0, :, :3])
    np.testing.assert_array_equal(out[1, :11, :3], CODES[1, :11, :3])
    assert not out[1, 11:].any() and out[0, 10:, 3:].any() and out.max() == 3
    other = CODES.copy()
    other[:, 16:] = (other[:, 16:] + 1) % 4
    changed = stages.fill_fine(params["fine"], FINE, other[..., :3], *arguments, FEW)
    np.testing.assert_array_equal(changed[:, :16], out[:, :16])


def test_likelihood_is_that_of_each_token(params):
    """By the whole pass over one row, without padding."""
    totals = stages.log_likelihood(params["semantic"], SEMANTIC, IDS, [9, 5], normalize=False)
    means = stages.log_likelihood(params["semantic"], SEMANTIC, IDS, [9, 5])
    np.testing.assert_allclose(means, totals / [9, 5], rtol=1e-6)
    apply = jax.jit(TokenLM(SEMANTIC).apply)
    for row, length in enumerate((9, 5)):
        tokens, _ = layout.semantic_prompt(SEMANTIC, IDS[row : row + 1], [length])
        logits = np.asarray(apply({"params": params["semantic"]}, tokens))[0, :-1, 5:11]
        each = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        each = each[np.arange(length), IDS[row, :length]]
        np.testing.assert_allclose(totals[row], each.sum(), rtol=1e-5)


def test_too_long(params):
    settings, keys = sampling(2), clip_keys(jax.random.key(0), 2)
    with pytest.raises(InputError, match="takes 200 tokens: a prompt of 10 and 191 new ones"):
        stages.continue_semantic(params["semantic"], SEMANTIC, IDS, [9, 9], 191, keys, settings)


def test_segments_change_nothing(params):
    """24 steps in one program or in five, also where rows end; the shares are one together."""
    settings, keys = sampling(2, temperature=(3.0, 1.0)), clip_keys(jax.random.key(1), 2)
    arguments = params["semantic"], SEMANTIC, IDS, [9, 3], 24, keys, settings
    shares = []
    whole = stages.continue_semantic(*arguments, ENDS)
    parts = stages.continue_semantic(*arguments, ENDS._replace(segment=5), shares.append)
    for ours, theirs in zip(parts, whole):
        np.testing.assert_array_equal(ours, theirs)
    assert 0 < whole[1].min() < 24
    assert sum(shares) <= 1 + 1e-9 and len(shares) <= 5
    fine, shares = [20, 11], []
    arguments = params["fine"], FINE, CODES[..., :3], fine, CODES, [10, 0], keys, sampling(2)
    out = stages.fill_fine(*arguments, FEW._replace(segment=7), shares.append)
    np.testing.assert_array_equal(out, stages.fill_fine(*arguments, FEW))
    assert sum(shares) == pytest.approx(1) and len(shares) > 4
