"""Clips of different users in one batch, on several devices, compiled ahead of time."""

import contextlib
import dataclasses
import functools

import jax
import numpy as np
import pytest

from audioldm2_jax import ClipRequest, Pipeline
from audioldm2_jax.checkpoints import hub
from audioldm2_jax.data.untrained import random_checkpoint
from audioldm2_jax.errors import InputError
from audioldm2_jax.pipelines.durations import bucketed_duration
from audioldm2_jax.presets import CONVENTIONS, PRESETS
from audioldm2_jax.sharding import make_mesh

MIXED = (
    ClipRequest("a dog barks", seconds=0.3, seed=3),
    ClipRequest("rain on a roof", "loud noise", seconds=0.3, guidance=5.0, seed=1, candidates=2),
    ClipRequest("wind", seconds=0.25, guidance=1.0, seed=2**32 - 1),
    ClipRequest("techno music with a strong upbeat tempo " * 14, "", seconds=0.3, clip=7),
    ClipRequest("a bell", "a voice", seconds=0.2, guidance=0.5 + 2, seed=3, clip=1),
)
SETTINGS = {"steps": 2, "sampler": "ddim", "eta": 1.0, "buckets": (0.3, 0.5)}


@functools.cache
def checkpoint(preset="tiny"):
    return random_checkpoint(PRESETS[preset]())


@functools.cache
def pipes(devices, preset="tiny"):
    """Clip by clip (0), or as one program on so many devices."""
    mesh = make_mesh(devices=jax.devices()[:devices]) if devices else None
    return Pipeline(checkpoint(preset), mesh=mesh)


def close(one, other):
    np.testing.assert_allclose(one, other, atol=1e-4 * np.abs(other).max())


@functools.cache
def alone():
    return [pipes(0).generate([request], **SETTINGS)[0] for request in MIXED]


@pytest.mark.slow
@pytest.mark.parametrize("devices", [0, 8])
def test_a_clip_is_the_same_alone_and_among_others(devices):
    """Own seed, guidance (also none), negative, candidates and duration; in another order."""
    order = MIXED[::-1] if devices == 8 else MIXED
    for request, output in zip(order, pipes(devices).generate(order, **SETTINGS)):
        expected = alone()[MIXED.index(request)]
        close(output.candidates, expected.candidates)
        np.testing.assert_allclose(output.scores[0], expected.scores[0], atol=1e-4)
        assert output.metadata == expected.metadata


@pytest.mark.slow
def test_generate_is_the_call():
    """At the exact length, a clip is what the pipeline makes of its prompt alone."""
    pipe, request = pipes(0), MIXED[1]
    settings = {"steps": 2, "sampler": "ddim", "eta": 1.0}
    (output,) = pipe.generate([request], **settings)
    values = dataclasses.asdict(request)
    first = values.pop("clip")
    called = pipe(**values, first_clip=first, **settings, progress=False)
    np.testing.assert_array_equal(output.candidates, called.candidates)
    assert output.metadata == called.metadata and called.metadata["bucket_seconds"] is None
    assert pipe.generate([]) == []


@pytest.mark.slow
def test_a_bucket_cuts_the_waveform_and_is_recorded():
    exact = pipes(0).generate([MIXED[2]], steps=1)[0]
    bucketed = pipes(0).generate([MIXED[2]], steps=1, buckets=(0.3,))[0]
    assert bucketed.audio.shape == exact.audio.shape
    names = ("seconds", "bucket_seconds", "latent_frames")
    assert [exact.metadata[name] for name in names] == [0.25, None, 6]
    assert [bucketed.metadata[name] for name in names] == [0.25, 0.3, 7]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"prompt": ""}, "prompt 1 of 1 is empty"),
        ({"prompt": ["a", "b"]}, "a ClipRequest has one prompt, not 2"),
        ({"seconds": 0.6}, "the longest bucket is 0.5 s"),
        ({"guidance": 1.0, "negative_prompt": "x"}, "negative_prompt: has no effect"),
        ({"candidates": 0}, "candidates is 0"),
        ({"seed": -3}, "seed is -3"),
        ({"clip": -1}, "^clip is -1"),
        ({"transcription": "hello"}, "does not speak"),
    ],
)
def test_a_request_that_cannot_be_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        pipes(0).generate([MIXED[0], dataclasses.replace(MIXED[0], **change)], **SETTINGS)


def test_values_of_another_type_are_refused():
    with pytest.raises(InputError, match="a ClipRequest is expected, not str"):
        pipes(0).generate(["a dog"], **SETTINGS)
    for count in (0, -1, "x"):
        with pytest.raises(InputError, match="clips is .*an integer from 1"):
            pipes(0).compile([0.3], clips=(count,))


@pytest.mark.parametrize("name", ["authors", "diffusers"])
@pytest.mark.parametrize("seconds", [0.045, 0.25, 0.3])
def test_a_bucket_never_makes_a_clip_longer(name, seconds):
    """None is the length of training, as elsewhere."""
    config, convention = checkpoint().config, CONVENTIONS[name]
    exact = bucketed_duration(seconds, config, convention, None)
    bucketed = bucketed_duration(seconds, config, convention, (None, 0.4))
    hop = config.vae.factor * config.vocoder.hop

    def samples(duration):
        return len(range(duration.frames * hop)[: duration.samples])

    assert bucketed.frames > exact.frames and bucketed.bucket == 0.4
    assert samples(bucketed) == samples(exact)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["tiny-audioldm", "tiny-speech"])
def test_eight_devices_are_one(preset):
    """Three clips, a number that 8 does not divide: the padding is dropped."""
    speech = {"transcription": ["The cat sat.", "Hello.", "Rain."]} if "speech" in preset else {}
    ask = (["a dog", "rain", "wind"], ["noise", "", "x"])
    settings = {"seconds": 0.3, "steps": 2, "progress": False} | speech
    one, eight = (pipes(devices, preset)(*ask, **settings) for devices in (0, 8))
    assert eight.audio.shape == one.audio.shape
    close(eight.audio, one.audio)


def test_a_mesh_that_splits_parameters_is_refused():
    with pytest.raises(InputError, match="sampling splits clips alone"):
        Pipeline(checkpoint(), mesh=make_mesh({"data": 4, "tensor": 2}))


@contextlib.contextmanager
def compilations():
    """The programs that XLA compiles within the block."""
    compiled = []

    def listen(event, seconds, **more):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(more.get("fun_name", event))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [0, 8])
def test_what_is_compiled_ahead_is_not_compiled_again(devices):
    mesh = make_mesh() if devices else None
    pipe = Pipeline(checkpoint(), mesh=mesh)
    with compilations() as before:
        pipe.compile((0.2,), clips=(2,), steps=2)
    assert before, "what counts compilations counts none"
    requests = [
        ClipRequest("a dog barks", "noise", seconds=0.15, seed=3),
        ClipRequest("rain", seconds=0.2, guidance=7.0, seed=4),
    ]
    with compilations() as after:
        outputs = pipe.generate(requests, steps=2, buckets=(0.2,))
    assert after == [] and all(np.isfinite(output.audio).all() for output in outputs)


def test_a_pipeline_leaves_its_checkpoint_as_it_was(tmp_path):
    """What is written after sounds were made is what was written before."""
    loaded = checkpoint()
    hub.save(loaded, tmp_path / "before")
    pipes(0)("a dog", seconds=0.2, steps=1, progress=False)
    hub.save(loaded, tmp_path / "after")
    files = sorted(p.relative_to(tmp_path / "before") for p in (tmp_path / "before").rglob("*"))
    assert any(file.suffix == ".safetensors" for file in files)
    for file in files:
        if (tmp_path / "before" / file).is_file():
            pair = [(tmp_path / folder / file).read_bytes() for folder in ("before", "after")]
            assert pair[0] == pair[1], file
