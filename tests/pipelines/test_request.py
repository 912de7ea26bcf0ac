"""Durations under both conventions."""

import pytest

from audioldm2_jax.checkpoints.families import default_guidance
from audioldm2_jax.errors import InputError
from audioldm2_jax.pipelines.durations import bucketed_duration, exact_duration
from audioldm2_jax.pipelines.request import check_request
from audioldm2_jax.presets import CONVENTIONS, PRESETS, ModelConfig

BASE = ModelConfig()


@pytest.mark.parametrize(
    "preset, guidance",
    [("base", 3.5), ("speech", 3.5), ("audioldm-48k", 3.5), ("audioldm-l", 2.5), ("musicldm", 2.0)],
)
def test_guidance_is_the_models_own(preset, guidance):
    assert default_guidance(PRESETS[preset]()) == guidance


@pytest.mark.parametrize(
    "seconds, frames",
    [
        (10.0, 256),
        (5.0, 128),
        (2.5, 64),
        (0.5, 12),
        (0.41, 10),
        (1.3, 33),
        (None, 256),
        (0.04, 1),
    ],
)
def test_authors_take_25_6_frames_a_second_and_cut_nothing(seconds, frames):
    duration = exact_duration(seconds, BASE, CONVENTIONS["authors"])
    assert (duration.frames, duration.samples) == (frames, None)


@pytest.mark.parametrize(
    "seconds, frames, samples",
    [
        (10.0, 250, 160000),
        (5.0, 125, 80000),
        (2.3, 58, 36800),
        (10.24, 256, 163840),
        (None, 256, 163840),
        (0.5, 13, 8000),
    ],
)
def test_diffusers_rounds_the_grid_up_and_cuts_the_waveform(seconds, frames, samples):
    duration = exact_duration(seconds, BASE, CONVENTIONS["diffusers"])
    assert (duration.frames, duration.samples) == (frames, samples)


@pytest.mark.parametrize(
    "seconds", [0, -1, float("nan"), float("inf"), "long", 0.001, True, 1e5, 1e300, 1e308, 10**400]
)
def test_impossible_durations(seconds):
    with pytest.raises(InputError, match="seconds is") as caught:
        exact_duration(seconds, BASE, CONVENTIONS["authors"])
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize("value", [True, "a", [], 10**400, float("nan")])
@pytest.mark.parametrize("name", ["guidance", "eta", "candidates"])
def test_what_is_no_number_is_named(name, value):
    names = "prompt negative_prompt transcription seconds sampler guidance".split()
    ask = dict.fromkeys(names) | {"prompt": "a", "steps": 2, "eta": 0.0, "candidates": 1}
    ask |= {"seed": 0, "first_clip": 0, name: value}
    with pytest.raises(InputError, match=f"{name} is") as caught:
        check_request(BASE, CONVENTIONS["authors"], **ask)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize("name", ["authors", "diffusers"])
def test_buckets_hold_what_is_asked(name):
    """The shortest bucket that holds the clip; what is cut is the bucket's surplus."""
    convention, buckets = CONVENTIONS[name], (10.24, 2.5, 5.0)
    for seconds, bucket in ((1.0, 2.5), (2.5, 2.5), (2.6, 5.0), (None, 10.24)):
        exact = exact_duration(seconds, BASE, convention)
        rounded = bucketed_duration(seconds, BASE, convention, buckets)
        assert rounded.bucket == bucket and rounded.seconds == exact.seconds
        assert rounded.frames == exact_duration(bucket, BASE, convention).frames >= exact.frames
        if convention.whole_grid:
            surplus = (rounded.frames - exact.frames) * 640
            assert rounded.samples == (-surplus or None)
        else:
            assert rounded.samples == exact.samples
    assert bucketed_duration(2.6, BASE, convention, None) == exact_duration(2.6, BASE, convention)
    for buckets in ((2.5,), ()):
        with pytest.raises(InputError, match="the longest bucket is"):
            bucketed_duration(3.0, BASE, convention, buckets)
