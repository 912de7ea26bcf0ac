"""Codecs of all families behind one interface."""

import dataclasses

import jax
import numpy as np
import pytest

from audioldm2_jax.checkpoints import single
from audioldm2_jax.checkpoints.init import random_params
from audioldm2_jax.checkpoints.single import Single
from audioldm2_jax.encoders import codec as module
from audioldm2_jax.encoders.codec import Codec
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import ENCODEC, SoundStreamConfig, T5Config

SMALL = {"filters": 4, "width": 8, "strides": (2, 5), "codebook": 16}
CONFIGS = {
    "soundstream": SoundStreamConfig(**SMALL, levels=3),
    "encodec": dataclasses.replace(ENCODEC["encodec_24khz"], **SMALL, bandwidths=(28.8,)),
    "chunks": dataclasses.replace(
        ENCODEC["encodec_48khz"],
        **SMALL,
        bandwidths=(57.6,),
        chunk_seconds=0.005,
        overlap=0.05,
    ),
}


def draw(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def codec_of(config, **options):
    name = module.FAMILIES[type(config)]
    return Codec(Single(name, config, random_params(name, config)), **options)


@pytest.mark.parametrize("name", CONFIGS)
def test_padding_to_buckets_changes_nothing(name):
    """Codes and sound are those of the exact length, in programs that several lengths share."""
    config = CONFIGS[name]
    exact, codec = codec_of(config, buckets=False), codec_of(config)
    wave = draw(2, 16 * 10 + 7) if config.channels == 1 else draw(2, 2500, 2)
    codes = codec.encode(wave)
    assert codes.shape == (2, codec.frames(wave.shape[1]), 3) and codes.dtype == np.int32
    np.testing.assert_array_equal(codes, exact.encode(wave))
    scales = codec.scales(wave)
    assert (scales is None) == (name != "chunks")
    sound = codec.decode(codes, wave.shape[1], scales=scales)
    assert sound.shape == wave.shape and sound.dtype == np.float32
    expected = exact.decode(codes, wave.shape[1], scales=scales)
    np.testing.assert_allclose(sound, expected, atol=1e-4 * expected.std())
    before = module._encode._cache_size(), module._decode._cache_size()
    for samples in (170, 180, 200, 310) if config.channels == 1 else (2400, 2600):
        codec.decode(codec.encode(draw(2, samples, config.channels)))
    after = module._encode._cache_size(), module._decode._cache_size()
    assert max(b - a for a, b in zip(before, after)) <= 1


def test_first_levels():
    codec, wave = codec_of(CONFIGS["encodec"]), draw(1, 160)
    codes = codec.encode(wave, 2)
    np.testing.assert_array_equal(codes, codec.encode(wave)[..., :2])
    assert codec.decode(codes).shape == (1, 160)


def test_properties():
    codec = codec_of(CONFIGS["chunks"])
    assert (codec.sample_rate, codec.channels, codec.hop, codec.levels) == (48000, 2, 10, 3)
    assert (codec.codebook, codec.frame_rate) == (16, 4800)
    # Chunks of 240 samples, 228 apart.
    assert [codec.frames(n) for n in (1, 240, 241, 468, 469)] == [24, 24, 48, 48, 72]
    assert [codec.samples(n) for n in (24, 48)] == [240, 468]


def test_from_pretrained(tmp_path):
    config = CONFIGS["encodec"]
    params = random_params("encodec", config)
    single.save(Single("encodec", config, params), tmp_path / "whole" / "codec")
    for folder in ("whole", "whole/codec"):
        codec = Codec.from_pretrained(tmp_path / folder)
        assert codec.config == config
        jax.tree.map(np.testing.assert_array_equal, codec.params, params)


@pytest.mark.parametrize(
    "method, argument, message",
    [
        ("encode", draw(160), "shape"),
        ("encode", draw(1, 0), "shape"),
        ("encode", draw(1, 160, 2), r"\[clips, samples, 1\]"),
        ("encode", np.full((1, 160), np.nan), "NaN"),
        ("decode", np.full((1, 4, 3), 16), "code 16: this codec's are 0 to 15"),
        ("decode", np.full((1, 4, 3), -1), "code -1"),
        ("decode", np.zeros((1, 4, 4), int), "shape"),
        ("decode", np.zeros((1, 4, 3)), "whole numbers"),
    ],
)
def test_bad_input(method, argument, message):
    codec = codec_of(CONFIGS["encodec"])
    with pytest.raises(InputError, match=message):
        getattr(codec, method)(argument)


def test_levels_and_models_that_are_none():
    codec = codec_of(CONFIGS["encodec"])
    for levels in (0, 4):
        with pytest.raises(InputError, match=f"{levels} levels: this codec has 1 to 3"):
            codec.encode(draw(1, 160), levels)
    with pytest.raises(InputError, match="part chunks|chunks of 24"):
        codec_of(CONFIGS["chunks"]).decode(np.zeros((1, 25, 3), int))
    with pytest.raises(InputError, match="t5 is no codec"):
        Codec(Single("t5", T5Config(), {}))
