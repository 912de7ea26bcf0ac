"""Networks in memory in turn, and weights in eight bits: the clips, the memory, the refusals."""

import gc
import weakref

import jax
import numpy as np
import pytest

from audioldm2_jax import InputError, Pipeline, tree
from audioldm2_jax.checkpoints import hub
from audioldm2_jax.cli.main import main
from audioldm2_jax.data.untrained import write_random
from audioldm2_jax.pipelines import memory, parts, runner
from audioldm2_jax.pipelines.request import check_request
from audioldm2_jax.sharding import make_mesh

REQUEST = {"seconds": 0.32, "steps": 2, "candidates": 2, "progress": False}
PROMPTS = ["a dog barks", "rain falls on a tin roof"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("low") / "tiny"
    write_random(folder, "tiny")
    return folder


@pytest.fixture(scope="module")
def plain(folder):
    return Pipeline.from_pretrained(folder, progress=False)


@pytest.fixture(scope="module")
def expected(plain):
    return plain(PROMPTS, **REQUEST)


@pytest.fixture(scope="module")
def low(folder):
    return Pipeline.from_pretrained(folder, low_memory=True, progress=False)


def test_clips_and_their_ranks_are_those_of_the_normal_path(low, expected):
    for _ in range(2):  # parts are read again
        output = low(PROMPTS, **REQUEST)
        scale = np.abs(expected.waveforms).max()
        np.testing.assert_allclose(output.waveforms, expected.waveforms, atol=1e-4 * scale)
        np.testing.assert_allclose(output.scores, expected.scores, atol=1e-4)
    assert repr(low).startswith("Pipeline(") and low.params["unet"] is not low.params["unet"]


def test_a_stage_leaves_before_the_next_is_read(low, monkeypatch):
    read, held, order = low.params._read, [], []

    def watched(name):
        gc.collect()
        stage = next(stage for stage, names in parts.STAGES.items() if name in names)
        order.append(stage)
        assert not [other for other, leaf in held if other != stage and leaf() is not None]
        part = read(name)
        held.extend((stage, weakref.ref(leaf)) for leaf in jax.tree.leaves(part))
        return part

    monkeypatch.setattr(low.params, "_read", watched)
    low("a dog", **REQUEST | {"candidates": 1})
    assert list(dict.fromkeys(order)) == list(parts.STAGES)


def test_a_checkpoint_in_memory_and_new_weights(folder, expected):
    checkpoint = hub.load(folder)
    pipe = Pipeline(checkpoint, low_memory=True)
    one = REQUEST | {"candidates": 1}
    first = pipe(PROMPTS[:1], **one).waveforms
    pipe.update({"unet": jax.tree.map(lambda x: 1.1 * x, checkpoint.params["unet"])})
    assert np.abs(pipe(PROMPTS[:1], **one).waveforms - first).max() > 1e-3
    pipe.update({"unet": checkpoint.params["unet"]})
    np.testing.assert_array_equal(pipe(PROMPTS[:1], **one).waveforms, first)


def test_eight_bits_move_clips_a_little(folder, expected):
    """Both paths hold the same bits; the record says so."""
    outputs = []
    for low_memory in (False, True):
        options = {"quantize": "int8", "low_memory": low_memory}
        pipe = Pipeline.from_pretrained(folder, progress=False, **options)
        outputs.append(pipe(PROMPTS, **REQUEST))
        assert outputs[-1].metadata["quantize"] == "int8"
    both = [np.asarray(output.waveforms) for output in outputs]
    scale = np.abs(expected.waveforms).max()
    np.testing.assert_allclose(both[0], both[1], atol=1e-4 * scale)
    # Ranks may differ, so that clips are compared in the order of their scores only where equal.
    np.testing.assert_allclose(outputs[0].scores, expected.scores, atol=0.05)


def test_the_peak_is_that_of_the_largest_stage(low, folder):
    config, convention = low.config, low.convention
    request = check_request(config, convention, prompt="x", seconds=0.32, steps=2)
    peaks = memory.estimate_in_turn(config, request, low.dtype, progress=False)
    weights = parts.stage_bytes(low.params.shapes)
    assert list(peaks) == list(parts.STAGES)
    assert all(weights[stage] < peaks[stage] for stage in peaks)
    held, needed = memory.estimate(config, request, low.dtype, progress=False)
    assert max(peaks.values()) < held + needed
    small = memory.estimate_in_turn(config, request, low.dtype, quantize="int8", progress=False)
    assert (
        small["text encoders"] < 0.7 * peaks["text encoders"] and small["U-Net"] == peaks["U-Net"]
    )
    real = {name: tree.nbytes(low.params[name]) for name in low.params}
    assert real == {name: tree.nbytes(shapes) for name, shapes in low.params.shapes.items()}


def test_what_does_not_fit_is_refused_with_advice(low, folder, capsys, monkeypatch):
    command = ["generate", "-t", "a dog", "--model", str(folder), "-dur", "0.32", "-q"]
    whole = tree.nbytes(memory.model_shapes(low.config, low.dtype))
    largest = max(parts.stage_bytes(low.params.shapes).values())
    for free, options, message in (
        (whole - 1, [], "take --low_memory, --quantize int8, --dtype bf16, or a smaller"),
        (largest - 1, [], "take --quantize int8, --dtype bf16, or a smaller"),
        (largest - 1, ["--low_memory"], "at once"),
        (largest + 1000, ["--low_memory"], "the "),
    ):
        for module in (memory, runner):
            monkeypatch.setattr(module, "available_memory", lambda _=None, free=free: free)
        assert main(command + options) == 2
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1, err


def test_options_that_cannot_be(folder, capsys):
    with pytest.raises(InputError, match="leave the mesh out"):
        Pipeline.from_pretrained(folder, mesh=make_mesh(), low_memory=True, progress=False)
    with pytest.raises(InputError, match="'int4': choose one of int8"):
        Pipeline.from_pretrained(folder, quantize="int4", progress=False)
    assert main(["generate", "-t", "x", "--model", str(folder), "--quantize", "fp4"]) == 2
    assert "choose one of int8" in capsys.readouterr().err
