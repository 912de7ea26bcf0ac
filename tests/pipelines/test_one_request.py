"""A clip's result follows from its own request alone, whatever it is made with."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from audioldm2_jax import Pipeline, backend
from audioldm2_jax.data.untrained import random_checkpoint, write_random
from audioldm2_jax.errors import InputError
from audioldm2_jax.pipelines.programs import program_of, shared
from audioldm2_jax.pipelines.request import check_clips
from audioldm2_jax.pipelines.text import tokenise
from audioldm2_jax.presets import CONVENTIONS, PRESETS
from audioldm2_jax.sharding import make_mesh

LONG = "techno music with a strong upbeat tempo and many high melodic riffs and " * 12
PROMPTS = ["a dog barks", LONG, "rain on a roof"]
NEGATIVES = ["low quality, very noisy", "", " "]
SAID = ["The cat sat.", "Hello there, friend of mine; what is up?", "Rain."]
AUTHORS = CONVENTIONS["authors"]
(CONTEXT_KEYS,) = backend.current().context_keys


@functools.cache
def checkpoint(preset):
    return random_checkpoint(PRESETS[preset]())


@functools.cache
def compiled(program):
    return jax.jit(functools.partial(shared.condition, program))


def conditions(preset, prompts, negatives, transcriptions, convention=AUTHORS, loa=None):
    """What the U-Net is given of a request: by kind, a pair of rows for each clip."""
    loaded = checkpoint(preset)
    clips = check_clips(
        loaded.config,
        prompt=prompts,
        negative_prompt=negatives,
        transcription=transcriptions if loaded.config.phonemes else None,
    )
    texts = tokenise(clips, loaded.tokenizers, loaded.config, convention)
    texts = dataclasses.replace(texts, loa=loa)
    program = program_of(loaded.config, np.float32)
    context, features = compiled(program)(loaded.params, texts)
    return {k: context[k] for k in ("kv", "masks", "film_bias") if k in context}, features


def row(context, index):
    """The unconditional and the conditional row of a clip."""
    return jax.tree.map(lambda x: np.asarray(x)[2 * index : 2 * index + 2], context)


def assert_same(one, other):
    """Equal shapes, and equal values where something is kept."""
    lengths = jax.tree.leaves(one["masks"])
    for a, b in zip(lengths, jax.tree.leaves(other["masks"])):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other)):
        assert a.shape == b.shape
        for i in range(2 if a.ndim > 1 else 0):
            # Texts are padded to the keys that all have; what the encoders make of padding varies.
            padded = a.ndim == 4 and a.shape[1] == CONTEXT_KEYS
            kept_part = lengths[-1][i] if padded else None
            np.testing.assert_allclose(a[i, :kept_part], b[i, :kept_part], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["tiny", "tiny-audioldm", "tiny-speech"])
def test_conditions_are_of_the_clip_alone(preset):
    """Short and long, with a negative text and without, mixed in one batch."""
    mixed, features = conditions(preset, PROMPTS, NEGATIVES, SAID)
    differences = []
    for i in range(len(PROMPTS)):
        alone, own = conditions(preset, PROMPTS[i], NEGATIVES[i], SAID[i])
        assert_same(row(mixed, i), row(alone, 0))
        if features is not None:
            np.testing.assert_allclose(features[i], own[0], atol=1e-4)
        leaf = jax.tree.leaves({k: mixed[k] for k in mixed if k != "masks"})[0]
        differences.append(float(np.abs(leaf[2 * i] - leaf[2 * i + 2 - 6 * (i == 2)]).max()))
    assert max(differences) > 1e-3, "negatives that change nothing prove nothing"


@pytest.mark.parametrize("length", [3, 12])
def test_a_given_loa_of_any_length_beside_negatives(length):
    """GPT-2 speaks for the negative text at its own length; what is shorter is masked."""
    config = checkpoint("tiny").config
    loa = np.random.default_rng(0).standard_normal((2, length, config.gpt2.width), np.float32)
    mixed, _ = conditions("tiny", PROMPTS[:1] * 2, ["noise", ""], None, loa=loa)
    alone, _ = conditions("tiny", PROMPTS[0], "noise", None, loa=loa[:1])
    assert_same(row(mixed, 0), row(alone, 0))
    silent, _ = conditions("tiny", PROMPTS[0], None, None, loa=loa[1:])
    first = [np.asarray(x)[0, 0] for x in jax.tree.leaves(silent["kv"])]
    for one, other in zip(first, jax.tree.leaves(row(mixed, 1)["kv"])):
        np.testing.assert_allclose(other[0, 0], one, atol=1e-4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one") / "tiny"
    write_random(folder, "tiny")
    return folder


@pytest.fixture(scope="module")
def pipe(folder):
    return Pipeline.from_pretrained(folder, progress=False)


SETTINGS = {"seconds": 0.3, "steps": 2, "progress": False}


def close(one, other):
    np.testing.assert_allclose(one, other, atol=1e-4 * np.abs(other).max())


@pytest.mark.slow
def test_together_and_clip_by_clip_agree(pipe, folder):
    """With latents, LOA, negatives of their own, candidates; and each prompt as alone."""
    rng, config = np.random.default_rng(0), pipe.config
    loa = rng.standard_normal((2, config.gpt2.tokens, config.gpt2.width), np.float32)
    latents = rng.standard_normal((4, 7, 16, 8), np.float32)
    ask = {"sampler": "ddim", "eta": 1.0, "candidates": 2, "loa": loa, "latents": latents}
    given = PROMPTS[:2], NEGATIVES[:2]
    inside = pipe(*given, **ask, **SETTINGS)
    one_device = make_mesh(devices=jax.devices()[:1])
    whole = Pipeline.from_pretrained(folder, mesh=one_device, progress=False)(
        *given, **ask, **SETTINGS
    )
    close(inside.candidates, whole.candidates)
    np.testing.assert_allclose(inside.scores, whole.scores, atol=1e-4)
    second = ask | {"loa": loa[1:], "latents": latents[2:]}
    alone = pipe(given[0][1], given[1][1], **second, first_clip=2, **SETTINGS)
    close(alone.candidates[0], whole.candidates[1])


@pytest.mark.slow
def test_requests_of_one_duration_share_their_programs(pipe):
    """Prompts of other lengths and numbers, steps, samplers, quiet or not: nothing compiles."""
    pipe("a dog barks", **SETTINGS)
    before = set(pipe._runner._compiled)
    pipe("rain " * 8, **SETTINGS | {"steps": 3, "progress": True})
    pipe(["a dog", "rain", "a long story of wind and of many birds"], **SETTINGS)
    pipe(["a dog", "rain"], candidates=8, sampler="ddim", guidance=5.0, seed=3, **SETTINGS)
    assert new_programs(pipe, before) <= {"audio_features"}, "ranking alone is new"
    pipe(LONG, **SETTINGS)
    assert new_programs(pipe, before) <= {"audio_features", "condition"}, "the U-Net is the same"


def new_programs(pipe, before):
    return {key[0].__name__ for key in set(pipe._runner._compiled) - before}


@pytest.mark.slow
def test_a_batch_of_one_size_shares_its_sampler(folder):
    """In a loop on the device: other texts, solvers, steps and candidates compile no sampler."""
    mesh = make_mesh(devices=jax.devices()[:1])
    pipe = Pipeline.from_pretrained(folder, mesh=mesh, progress=False)
    pipe(["a dog", "rain"], **SETTINGS)
    before = set(pipe._runner._compiled)
    for sampler, steps, eta in (("ddim", 3, 1.0), ("heun", 5, 0.0)):
        ask = {"sampler": sampler, "eta": eta, "seed": 3} | SETTINGS | {"steps": steps}
        pipe("rain", candidates=2, **ask)
    pipe(["a dog", LONG], **SETTINGS)
    assert new_programs(pipe, before) <= {"audio_features", "condition"}


def test_seeds(pipe, capsys):
    first = pipe("rain", **SETTINGS | {"steps": 1})
    assert first.metadata["seed"] == 0
    drawn = [pipe("rain", seed=s, **SETTINGS | {"steps": 1}).metadata["seed"] for s in (None, -1)]
    assert len({0, *drawn}) == 3 and all(0 <= seed < 2**32 for seed in drawn)
    out = pipe("rain", seed=-1, **SETTINGS | {"steps": 1, "progress": True})
    assert f"seed: {out.metadata['seed']}\n" in capsys.readouterr().err
    again = pipe("rain", seed=out.metadata["seed"], **SETTINGS | {"steps": 1})
    np.testing.assert_array_equal(again.audio, out.audio)
    for seed in (-2, 2**32, 0.5, True, "1"):
        with pytest.raises(InputError, match="or -1 to draw one"):
            pipe("rain", seed=seed, **SETTINGS)


@pytest.mark.slow
@pytest.mark.parametrize("more", [3, -3])
def test_a_given_loa_of_another_length_beside_mixed_negatives(pipe, more):
    """In parts, both orders of a silent and a spoken negative; each clip as alone."""
    config = pipe.config.gpt2
    shape = (2, config.tokens + more, config.width)
    loa = np.random.default_rng(0).standard_normal(shape, np.float32)
    for negatives in (["loud rain", ""], ["", "loud rain"]):
        both = pipe(["a", "b"], negatives, loa=loa, **SETTINGS)
        alone = pipe("b", negatives[1], loa=loa[1:], first_clip=1, **SETTINGS)
        close(alone.audio[0], both.audio[1])
