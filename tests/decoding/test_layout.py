"""AudioLM's token layout: round trips, disjoint levels, ragged prompts."""

import numpy as np
import pytest

from audioldm2_jax.decoding import layout
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import TokenLMConfig, audiolm_stages

SEMANTIC = TokenLMConfig(semantic=10)
COARSE = TokenLMConfig("coarse", 10, 8, 2, 0, 64)
FINE = TokenLMConfig("fine", 0, 8, 5, 2, 42)
CODES = np.random.default_rng(0).integers(0, 8, (2, 6, 5))


def test_stages_hold_the_papers_crops():
    """30 s of semantic tokens at up to 50 a second, 10 s with them, 3 s of all levels."""
    semantic, coarse, fine = audiolm_stages()
    assert semantic.max_tokens > 1500 and coarse.max_tokens == 500 + 2000 + 2
    assert (fine.chunk, fine.max_tokens, fine.predicted) == (150, 1802, 8)
    assert fine.vocabulary == 5 + 12 * 1024


def test_levels_share_no_token():
    semantic, ranges = layout.legal(SEMANTIC), layout.legal(COARSE)
    assert semantic.tolist() == [[5, 15]]
    assert ranges.tolist() == [[15, 23], [23, 31]] and COARSE.vocabulary == 31
    assert layout.legal(FINE).tolist() == [[21, 29], [29, 37], [37, 45]] and FINE.vocabulary == 45


def test_coarse_prompt():
    """Rows of 3 and 1 semantic tokens, of 2 and 0 frames."""
    ids = np.array([[4, 9, 0], [7, 99, 99]])
    tokens, lengths = layout.coarse_prompt(COARSE, ids, [3, 1], CODES, [2, 0])
    own = [15 + CODES[0, 0, 0], 23 + CODES[0, 0, 1], 15 + CODES[0, 1, 0], 23 + CODES[0, 1, 1]]
    assert tokens[0].tolist() == [layout.SEMANTIC, 9, 14, 5, layout.COARSE, *own]
    assert tokens[1].tolist() == [layout.SEMANTIC, 12, layout.COARSE] + [layout.PAD] * 6
    assert lengths.tolist() == [9, 3]


def test_fine_prompt_and_its_inverse():
    tokens, lengths = layout.fine_prompt(FINE, CODES[..., :2], [6, 4], CODES, [6, 1])
    assert lengths.tolist() == [1 + 12 + 1 + 18, 1 + 8 + 1 + 3]
    assert tokens[0, 0] == layout.COARSE and tokens[0, 13] == layout.FINE
    predicted = layout.codes_of(FINE, tokens[:1, 14:])
    np.testing.assert_array_equal(predicted, CODES[:1, :, 2:])
    # Tokens of all six frames, each within what the layout allows.
    low, high = np.tile(layout.legal(FINE), (6, 1)).T
    assert ((tokens[0, 14:] >= low) & (tokens[0, 14:] < high)).all()


@pytest.mark.parametrize("bad", [8, -1])
def test_codes_out_of_range(bad):
    codes = CODES.copy()
    codes[1, 3, 1] = bad
    with pytest.raises(InputError, match=f"{bad}.*0 to 7"):
        layout.fine_prompt(FINE, codes, [6, 6], codes, [0, 0])
    # Beyond a row's length, nothing is read.
    layout.fine_prompt(FINE, codes, [6, 3], codes, [0, 0])
    with pytest.raises(InputError, match=r"semantic tokens hold 10\b"):
        layout.semantic_prompt(SEMANTIC, np.array([[10]]), [1])


def test_too_few_levels():
    with pytest.raises(InputError, match="1 levels; the coarse language model needs 2"):
        layout.coarse_prompt(COARSE, np.zeros((2, 1), int), [1, 1], CODES[..., :1], [1, 1])
