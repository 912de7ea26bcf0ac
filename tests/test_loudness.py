"""The level of written sound: BS.1770 against its own numbers and pyloudnorm, and the rule."""

import numpy as np
import pyloudnorm
import pytest

from audioldm2_jax import loudness
from audioldm2_jax.errors import InputError
from audioldm2_jax.loudness import integrated_loudness, normalize_loudness

RATE = 16000
CEILING = 10 ** (-loudness.HEADROOM / 20)


def noise(seconds=2.0, scale=0.1, seed=0):
    rng = np.random.default_rng(seed)
    return (scale * rng.standard_normal(int(seconds * RATE))).astype(np.float32)


def tone(seconds=2.0, peak=0.1, hertz=500):
    return (peak * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype("f4")


def test_filters_are_the_standards():
    """Tables 1 and 2 of BS.1770-4, which are for 48 kHz."""
    (b, a), (b2, a2) = loudness.k_filters(48000)
    np.testing.assert_allclose(b, [1.53512485958697, -2.69169618940638, 1.19839281085285], 1e-9)
    np.testing.assert_allclose(a, [1, -1.69065929318241, 0.73248077421585], 1e-9)
    np.testing.assert_allclose(b2, [1, -2, 1])
    np.testing.assert_allclose(a2, [1, -1.99004745483398, 0.99007225036621], 1e-9)


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_the_standards_tone(rate):
    """997 Hz at full scale in one channel is -3.01 LUFS."""
    wave = np.sin(2 * np.pi * 997 * np.arange(3 * rate) / rate)
    assert integrated_loudness(wave, rate) == pytest.approx(-3.01, abs=0.06)


@pytest.mark.parametrize(
    "wave",
    [noise(), noise(10, 0.01), tone(), np.concatenate([noise(2, 0.3), noise(5, 1e-3)])],
    ids=["noise", "quiet", "tone", "gated"],
)
def test_loudness_is_pyloudnorms(wave):
    # The library of De Man's design, which is the standard's; its blocks are counted by rounding.
    meter = pyloudnorm.Meter(RATE, filter_class="DeMan")
    theirs = meter.integrated_loudness(wave.astype(np.float64))
    assert integrated_loudness(wave, RATE) == pytest.approx(theirs, abs=0.1)


def test_clips_shorter_than_a_block_and_silence():
    assert integrated_loudness(tone(0.1), RATE) == pytest.approx(
        integrated_loudness(tone(2.0), RATE), abs=0.3
    )
    assert integrated_loudness(np.zeros(100), RATE) is None


CLIPS = {
    "peak 4": noise() * (4 / np.abs(noise()).max()),
    "loud": noise(scale=0.5),
    "ordinary": noise(scale=0.08),
    "quiet": noise(scale=0.004),
    "nearly silence": noise(scale=1e-6),
    "click": np.eye(1, RATE, 5, dtype=np.float32)[0] * 3,
    "short": noise(0.01),
    "one sample": np.full(1, 2.0, np.float32),
    "offset": np.full(RATE, 1.5, np.float32),
    "silence": np.zeros(RATE, np.float32),
}


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("rule", ["auto", "raw", -23, -14.0, "-30"])
def test_the_rule(name, rule):
    wave = CLIPS[name]
    output, done = normalize_loudness(wave, RATE, rule)
    assert output.shape == wave.shape and output.dtype == np.float32
    assert done.peak == pytest.approx(np.abs(wave).max())
    if rule == "raw":
        np.testing.assert_array_equal(output, np.clip(wave, -1, 1))
        assert done.gain_db == 0 and done.clipped_samples == (np.abs(wave) > 1).sum()
        return
    assert done.clipped_samples == 0
    assert np.abs(output).max() <= CEILING * (1 + 1e-6), "no sample at full scale"
    # One gain for the whole clip, and the one that is told.
    np.testing.assert_allclose(output, wave * 10 ** (done.gain_db / 20), rtol=1e-5)
    if name == "silence":
        assert done.gain_db == 0 and done.lufs is None
    elif done.lufs is not None and rule == "auto":
        after = done.lufs + done.gain_db
        limited = np.abs(output).max() > CEILING * 0.999 or done.gain_db == loudness.RAISE
        assert -28.001 < after < -17.999 or (limited and after < -17.999)
    elif done.lufs is not None:
        after, limited = done.lufs + done.gain_db, np.abs(output).max() > CEILING * 0.999
        assert after == pytest.approx(float(rule), abs=1e-6) or (limited and after < float(rule))


def test_ordinary_clips_are_not_touched():
    wave = CLIPS["ordinary"]
    assert -28 < integrated_loudness(wave, RATE) < -18
    np.testing.assert_array_equal(normalize_loudness(wave, RATE)[0], wave)


def test_clips_of_a_list_are_comparable():
    """33 dB between clips become at most 10 wherever the peaks allow it."""
    waves = [noise(scale=s, seed=i) for i, s in enumerate((1.2, 0.3, 0.05, 0.02))]
    before = [integrated_loudness(w, RATE) for w in waves]
    after = [integrated_loudness(normalize_loudness(w, RATE)[0], RATE) for w in waves]
    assert np.ptp(before) > 33 and np.ptp(after) < 10.1
    assert list(np.argsort(after, kind="stable")) == list(np.argsort(before, kind="stable"))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_broken_waves_are_refused(bad):
    wave = noise()
    wave[3] = bad
    with pytest.raises(InputError, match="NaN or infinity"):
        normalize_loudness(wave, RATE)


@pytest.mark.parametrize("wave", [np.zeros(0), np.zeros((2, 100)), np.float32(1)])
def test_other_shapes_are_refused(wave):
    with pytest.raises(InputError, match="one axis of samples"):
        normalize_loudness(wave, RATE)


@pytest.mark.parametrize("rule", ["loud", "", None, True, 3, 0, -90, "nan", "-inf", [], "-23 LUFS"])
def test_other_rules_are_refused(rule):
    with pytest.raises(InputError, match="auto, raw, or LUFS"):
        normalize_loudness(noise(), RATE, rule)


def test_two_channels_sum_their_power():
    """BS.1770: two equal channels are 3 LU louder than one; a silent one adds nothing."""
    rate = 16000
    wave = 0.1 * np.random.default_rng(0).standard_normal(2 * rate).astype(np.float32)
    mono = integrated_loudness(wave, rate)
    both = integrated_loudness(np.stack([wave, wave], 1), rate)
    theirs = pyloudnorm.Meter(rate, filter_class="DeMan").integrated_loudness(
        np.stack([wave, wave], 1)
    )
    assert both == pytest.approx(theirs, abs=0.1)
    assert both - mono == pytest.approx(10 * np.log10(2), abs=1e-3)
    assert integrated_loudness(np.stack([wave, 0 * wave], 1), rate) == pytest.approx(mono)
    louder, _ = normalize_loudness(np.stack([wave, 0.5 * wave], 1), rate, -30.0)
    assert louder.shape == (2 * rate, 2)
    assert integrated_loudness(louder, rate) == pytest.approx(-30, abs=0.01)
