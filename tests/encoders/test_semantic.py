"""Semantic tokens: what a clip's tokens depend on, and what is refused."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from audioldm2_jax.checkpoints import single
from audioldm2_jax.checkpoints.init import random_params
from audioldm2_jax.checkpoints.single import Single
from audioldm2_jax.encoders import semantic
from audioldm2_jax.encoders.repeats import deduplicate, repeat
from audioldm2_jax.encoders.semantic import SemanticEncoder, SemanticTokenizer
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import HuBERTConfig, KMeansConfig, W2VBERTConfig

HUBERT = HuBERTConfig(
    channels=(8,) * 7,
    width=16,
    depth=2,
    heads=2,
    hidden=16,
    position_kernel=4,
    position_groups=2,
)
KMEANS = KMeansConfig(codebook=32, width=16, layer=1, frame_rate=25)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def single_of(name, config):
    return Single(name, config, random_params(name, config))


def tokenizer(**changes):
    kmeans = dataclasses.replace(KMEANS, **changes)
    return SemanticTokenizer(
        SemanticEncoder(single_of("hubert", HUBERT)), single_of("kmeans", kmeans)
    )


def test_tokens_are_the_nearest_centroids_of_averaged_frames():
    ours, wave = tokenizer(), draw(2, 6480)
    ids = ours.encode(wave)
    states = ours.features(wave, 1)
    assert states.shape == (2, 20, 16)
    kmeans = jax.tree.map(np.asarray, ours.centroids)
    mean = states.reshape(2, 10, 2, 16).mean(2)
    distances = (mean - kmeans["mean"]) / kmeans["std"]
    distances = np.square(distances[:, :, None] - kmeans["centroids"]).sum(-1)
    assert ids.shape == (2, ours.frames(6480)) and ids.dtype == np.int32
    np.testing.assert_array_equal(ids, distances.argmin(-1))
    assert len(np.unique(ids)) > 4


def test_a_clip_alone_has_the_tokens_that_it_has_in_a_batch():
    """Also where its last token is of one frame."""
    ours, wave = tokenizer(), draw(2, 6480)
    together = ours.encode(wave, lengths=[6480, 6100])
    alone = ours.encode(wave[1:, :6100])
    assert alone.shape == (1, 9)
    assert ours.encoder.frames(6100) == 18
    np.testing.assert_array_equal(together[1, :9], alone[0])


def test_long_recordings_are_encoded_in_pieces(monkeypatch):
    """As many tokens as of the whole, and each piece's as if it was alone."""
    ours, wave = tokenizer(), draw(1, 48000)
    monkeypatch.setattr(semantic, "_PIECE", 1)
    ids = ours.encode(wave)
    assert ids.shape == (1, ours.frames(48000)) == (1, 75)
    # 149 frames in three pieces of 50.
    np.testing.assert_array_equal(ids[:, 25:50], ours.encode(wave[:, 16000:32080]))


@pytest.mark.parametrize(
    ("wave", "word"),
    [
        (np.full((1, 800), np.nan), "NaN"),
        (np.zeros((1, 399)), "399 samples"),
        (np.zeros(800), "shape"),
        (np.zeros((0, 800)), "shape"),
    ],
)
def test_bad_waves(wave, word):
    with pytest.raises(InputError, match=word):
        tokenizer().encode(wave)


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"width": 17}, "width 17"), ({"layer": 3}, "layer 3"), ({"frame_rate": 40}, "40 tokens")],
)
def test_centroids_of_another_encoder(changes, word):
    with pytest.raises(InputError, match=word):
        tokenizer(**changes)


def test_folder(tmp_path):
    """Our layout, and transformers' folder with the centroids in it."""
    ours, wave = tokenizer(), draw(1, 2000)
    encoder, kmeans = single_of("hubert", HUBERT), single_of("kmeans", KMEANS)
    for folder in (tmp_path / "ours/semantic_encoder", tmp_path / "theirs"):
        single.save(encoder, folder)
        single.save(kmeans, tmp_path / folder.relative_to(tmp_path).parts[0] / "kmeans")
    for name in ("ours", "theirs"):
        loaded = SemanticTokenizer.from_pretrained(tmp_path / name)
        assert (loaded.encoder.config, loaded.kmeans) == (HUBERT, KMEANS)
        np.testing.assert_array_equal(loaded.encode(wave), ours.encode(wave))
    bare = tmp_path / "ours/semantic_encoder"
    with pytest.raises(InputError, match="kmeans"):
        SemanticTokenizer.from_pretrained(bare)
    with pytest.raises(InputError, match="layer 1"):
        SemanticTokenizer.from_pretrained(bare, kmeans=tmp_path / "ours/kmeans", layer=1)


def test_centroids_of_a_file(tmp_path):
    """Of plain states at the encoder's own rate."""
    single.save(single_of("hubert", HUBERT), tmp_path / "hubert")
    np.save(tmp_path / "km.npy", draw(7, 16))
    load = functools.partial(
        SemanticTokenizer.from_pretrained, tmp_path / "hubert", kmeans=tmp_path / "km.npy"
    )
    ours = load(layer=1)
    assert (ours.codebook, ours.frame_rate) == (7, 50)
    states = ours.features(draw(1, 2000), 1)
    expected = np.square(states[:, :, None] - draw(7, 16)).sum(-1).argmin(-1)
    np.testing.assert_array_equal(ours.encode(draw(1, 2000)), expected)
    with pytest.raises(InputError, match="layer of its centroids"):
        load()
    with pytest.raises(InputError, match="40 tokens"):
        load(layer=1, frame_rate=40)


def test_w2v_bert():
    """The other encoder: a clip in a batch, and its number of tokens."""
    config = W2VBERTConfig(mels=4, width=16, depth=1, heads=2, hidden=16, kernel=3, left=2, right=1)
    encoder = SemanticEncoder(single_of("w2v_bert", config))
    ours = SemanticTokenizer(encoder, single_of("kmeans", KMEANS))
    wave = draw(2, 6480)
    together = ours.encode(wave, lengths=[6480, 6100])
    alone = ours.encode(wave[1:, :6100])
    assert alone.shape == (1, 9)
    np.testing.assert_array_equal(together[1, :9], alone[0])


def test_repeats():
    ids = np.array([[5, 5, 7, 7, 7, 5], [0, 0, 0, 3, 9, 9], [4, 4, 4, 4, 4, 4]])
    run = jax.jit(deduplicate)
    values, runs, counts = run(ids, np.array([6, 4, 6]))
    np.testing.assert_array_equal(values, [[5, 7, 5, 0, 0, 0], [0, 3, 0, 0, 0, 0], [4] + [0] * 5])
    np.testing.assert_array_equal(runs, [[2, 3, 1, 0, 0, 0], [3, 1, 0, 0, 0, 0], [6] + [0] * 5])
    np.testing.assert_array_equal(counts, [3, 2, 1])
    ids[1, 4:] = 0
    np.testing.assert_array_equal(jax.jit(repeat, static_argnums=2)(values, runs, 6), ids)
    ids = np.random.default_rng(0).integers(0, 3, (3, 6))
    values, runs, counts = run(ids, np.full(3, 6))
    assert all((row[1:n] != row[: n - 1]).all() for row, n in zip(np.asarray(values), counts))
    np.testing.assert_array_equal(jax.jit(repeat, static_argnums=2)(values, runs, 6), ids)
