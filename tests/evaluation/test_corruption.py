"""The study's corruptions: what each does exactly, and that a clip's name decides it."""

import numpy as np
import pytest

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.corruption import (
    CorruptionRules,
    MelVocoder,
    add_noise,
    chain,
    corrupted_names,
    draw_events,
    draw_interferers,
    event_order,
    interfere,
    mask_spans,
    mel_power,
)
from audioldm2_jax.features.mel import MEL_16K

RULES = CorruptionRules()
NAMES = [f"clip {i}.wav" for i in range(37)]


def random_mel(frames=860, bins=64, seed=0):
    return np.random.default_rng(seed).normal(-4, 2, (frames, bins)).astype(np.float32)


@pytest.mark.parametrize("share", [0, 0.2, 0.5, 1])
def test_a_share_is_exact_nested_and_of_names_alone(share):
    names = corrupted_names(NAMES, share)
    assert len(names) == round(share * len(NAMES)) and names <= {*NAMES}
    assert names == corrupted_names(NAMES[::-1], share)
    assert corrupted_names(NAMES, share / 2) <= names
    assert share in (0, 1) or names != corrupted_names(NAMES, share, seed=1)


@pytest.mark.parametrize("noise", ["variance", "std"])
def test_noise_has_the_mean_and_spread_of_the_rule(noise):
    mel = random_mel()
    difference = add_noise(mel, "a", CorruptionRules(noise=noise)) - mel
    spread = 0.2 * float(np.ptp(mel))
    expected = np.sqrt(spread) if noise == "variance" else spread
    # Of 55040 draws: five standard errors.
    assert abs(difference.mean() - mel.mean()) < 5 * expected / np.sqrt(mel.size)
    assert abs(difference.std() / expected - 1) < 5 / np.sqrt(2 * mel.size)


@pytest.mark.parametrize("fill", ["min", "zero"])
def test_masks_are_two_spans_of_a_tenth(fill):
    """860 frames give spans of 86, as the study says; the rest stays to the bit."""
    mel = random_mel()
    masked = mask_spans(mel, "b", CorruptionRules(fill=fill))
    rows = (masked != mel).any(1)
    assert 86 <= rows.sum() <= 172
    assert (masked[rows] == (mel.min() if fill == "min" else 0)).all()
    np.testing.assert_array_equal(masked[~rows], mel[~rows])
    edges = np.flatnonzero(np.diff(np.pad(rows.astype(int), 1)))
    lengths = edges[1::2] - edges[::2]
    assert sorted(lengths) == [86, 86] or (len(lengths) == 1 and 86 <= lengths[0] <= 172)


@pytest.mark.parametrize("corrupt", [add_noise, mask_spans])
def test_a_clips_corruption_is_of_its_name_and_seed(corrupt):
    mel = random_mel()
    once = corrupt(mel, "a", RULES)
    np.testing.assert_array_equal(once, corrupt(mel, "a", RULES))
    assert (once != corrupt(mel, "b", RULES)).any()
    assert (once != corrupt(mel, "a", CorruptionRules(seed=1))).any()


@pytest.mark.parametrize(("target", "other"), [(16000, 16000), (20000, 7000), (300, 9000)])
def test_interference_is_at_0_db_of_mel_power(target, other):
    random = np.random.default_rng(0)
    wave = 0.01 * random.normal(size=target).astype(np.float32)
    interferer = random.normal(size=other).astype(np.float32)
    mixed = interfere(wave, interferer, MEL_16K)
    ratio = mel_power(wave, MEL_16K) / mel_power(mixed - wave, MEL_16K)
    assert abs(10 * np.log10(ratio)) < 1e-3 and mixed.shape == wave.shape
    np.testing.assert_array_equal(interfere(np.zeros(target, np.float32), interferer, MEL_16K), 0)
    with pytest.raises(InputError, match="silent"):
        interfere(wave, np.zeros(other, np.float32), MEL_16K)


def test_interferers_are_of_other_classes():
    labels = {name: (f"class {i % 14}",) for i, name in enumerate(NAMES)}
    labels[NAMES[1]] = ("class 0", "class 3")
    drawn = draw_interferers(NAMES[0], labels[NAMES[0]], labels, RULES)
    classes = {label for name in drawn for label in labels[name]}
    assert "class 0" not in classes and len(classes) == 10 and len({*drawn}) == len(drawn)
    assert drawn == draw_interferers(NAMES[0], labels[NAMES[0]], labels, RULES)
    with pytest.raises(InputError, match="no clip of another class"):
        draw_interferers("a", ("x",), {"a": ("x",), "b": ("x",)}, RULES)


def test_order_permutes_the_events():
    rules, rate = CorruptionRules(events=3, event_seconds=0.01), 1000
    names = draw_events("clip 5.wav", NAMES, rules)
    assert names[0] == "clip 5.wav" and len({*names}) == 3
    waves = [np.full(length, value, np.float32) for value, length in ((1, 30), (2, 4), (3, 10))]
    whole = chain(waves, rate, rules)
    np.testing.assert_array_equal(whole, [*[1] * 10, *[2] * 4, *[0] * 6, *[3] * 10])
    orders = [event_order(name, rules) for name in NAMES]
    for order in orders:
        assert sorted(order) == [0, 1, 2] and order != [0, 1, 2]
        moved = chain([waves[i] for i in order], rate, rules)
        np.testing.assert_array_equal(np.sort(moved), np.sort(whole))
    assert len({tuple(order) for order in orders}) == 5  # all but the identity
    with pytest.raises(InputError, match="5 events"):
        draw_events("a", ["a", "b"], RULES)


def test_the_vocoder_keeps_length_and_spectrum():
    """Of the bundled model: what comes back has the mel that went in, nearly."""
    vocoder = MelVocoder.load("nano")
    time = np.arange(12345) / 16000
    wave = (0.3 * np.sin(2 * np.pi * 440 * time) * np.exp(-3 * time)).astype(np.float32)
    mel = vocoder.mel(wave)
    assert mel.shape == (78, 64)
    again = vocoder.wave(mel, len(wave))
    assert again.shape == wave.shape
    error = np.abs(vocoder.mel(again) - mel)[5:-5]
    assert np.median(error) < 0.5 < np.median(np.abs(mel - mel.mean()))


def test_wrong_rules_are_refused():
    for wrong in ({"noise": "loud"}, {"fill": "max"}, {"span_share": 0.0}, {"events": 1}):
        with pytest.raises(InputError):
            CorruptionRules(**wrong)
    with pytest.raises(InputError, match="from 0 to 1"):
        corrupted_names(NAMES, 1.5)
