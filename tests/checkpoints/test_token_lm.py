"""AudioLM's language models: configurations and weights there and back, what is refused."""

import dataclasses

import jax
import numpy as np
import pytest

from audioldm2_jax import tree
from audioldm2_jax.checkpoints import single
from audioldm2_jax.checkpoints.init import random_params
from audioldm2_jax.checkpoints.parts import PARTS, PartFiles
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import DecoderConfig, TokenLMConfig, audiolm_stages

TINY = DecoderConfig(width=16, depth=2, heads=2, head_width=8, hidden=24)
ROPE = dataclasses.replace(TINY, positions="rope", norm="layer", bias=True, gated=True, scale=1.0)
STAGES = (
    TokenLMConfig("semantic", 6, 0, 0, 0, 64, TINY),
    TokenLMConfig("coarse", 6, 4, 3, 0, 64, ROPE),
    TokenLMConfig("fine", 0, 4, 5, 3, 42, TINY),
)


@pytest.mark.parametrize("config", STAGES, ids=[config.stage for config in STAGES])
def test_a_folder_there_and_back(config, tmp_path):
    name = f"{config.stage}_lm"
    model = single.Single(name, config, random_params(name, config))
    single.save(model, tmp_path / "lm")
    read = single.load(tmp_path / "lm")
    assert (read.name, read.config) == (name, config)
    jax.tree.map(np.testing.assert_array_equal, read.params, model.params)


def test_the_papers_size():
    """0.3 B is said; 151 M of blocks with plain feed-forwards, and two tables."""
    sizes = [tree.count(PARTS[f"{c.stage}_lm"].shapes(c)) / 1e6 for c in audiolm_stages()]
    assert [round(size) for size in sizes] == [153, 162, 176]


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"architecture": "SemanticLM"}, "stage"),
        ({"levels": 0}, "levels"),
        ({"codebook": 1 << 20}, "codebook"),
        ({"semantic": "many"}, "semantic"),
        ({"max_tokens": 4}, "max_tokens"),
        ({"decoder": {"positions": "none"}}, "positions"),
        ({"decoder": {"positions": "rope", "head_width": 7}}, "head_width"),
        ({"decoder": {"cross": True}}, "cross"),
        ({"decoder": {"distance": 3}}, "distance"),
        ({"decoder": []}, "decoder"),
    ],
)
def test_what_is_refused(changes, named):
    part = PARTS["coarse_lm"]
    content = part.write(STAGES[1]).content | changes
    with pytest.raises(InputError, match=named):
        part.read(PartFiles(content))


def test_no_given_levels():
    content = PARTS["fine_lm"].write(STAGES[2]).content
    for given in (0, 5):
        with pytest.raises(InputError, match=f"given is {given}"):
            PARTS["fine_lm"].read(PartFiles(content | {"given": given}))
