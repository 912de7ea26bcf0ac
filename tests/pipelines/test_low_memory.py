"""Networks in memory in turn, and weights in eight bits: the clips, the memory, the refusals."""

import gc
import re
import weakref

import jax
import numpy as np
import pytest

from audioldm2_jax import InputError, Pipeline, tree
from audioldm2_jax.checkpoints import hub
from audioldm2_jax.cli.main import main
from audioldm2_jax.data.untrained import write_random
from audioldm2_jax.pipelines import memory, parts, runner
from audioldm2_jax.sharding import make_mesh
from tests.kernels import xla_kernels

REQUEST = {"seconds": 0.32, "steps": 1, "candidates": 2, "progress": False}
PROMPTS = ["a dog barks", "rain falls on a tin roof"]


@pytest.fixture(scope="module", autouse=True)
def quick_programs():
    with pytest.MonkeyPatch.context() as patch:
        xla_kernels(patch)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("low") / "tiny"
    write_random(folder, "tiny")
    return folder


@pytest.fixture(scope="module")
def expected(folder):
    return Pipeline.from_pretrained(folder, progress=False)(PROMPTS, **REQUEST)


@pytest.fixture(scope="module")
def low(folder):
    return Pipeline.from_pretrained(folder, low_memory=True, progress=False)


def close(candidates, expected):
    np.testing.assert_allclose(candidates, expected, atol=1e-4 * np.abs(expected).max())


def test_clips_and_their_ranks_are_those_of_the_normal_path(low, expected, monkeypatch, capsys):
    """Also when a request is repeated. A stage leaves memory before the next one is read."""
    read, held, order = low.params._read, [], []

    def watched(name):
        gc.collect()
        stage = next(stage for stage, names in parts.STAGES.items() if name in names)
        assert not [other for other, leaf in held if other != stage and leaf() is not None]
        part = read(name)
        order.append(stage)
        held.extend((stage, weakref.ref(leaf)) for leaf in jax.tree.leaves(part))
        return part

    monkeypatch.setattr(low.params, "_read", watched)
    for _ in range(2):
        output = low(PROMPTS, **REQUEST | {"progress": True})
        close(output.candidates, expected.candidates)
        np.testing.assert_allclose(output.scores, expected.scores, atol=1e-4)
    # Then CLAP ranks the candidates.
    assert list(dict.fromkeys(order)) == list(parts.STAGES) and order[-1] == "text encoders"
    line = re.search(r"memory: ([\d.]+) GB at most, weights in turn", capsys.readouterr().err)
    weights = parts.stage_bytes(low.params.shapes)
    assert max(weights.values()) / 1e9 <= float(line[1]) + 0.005
    assert repr(low).startswith("Pipeline(")


def test_a_checkpoint_in_memory_and_new_weights(folder, low, expected):
    checkpoint = hub.load(folder)
    pipe = Pipeline(checkpoint, low_memory=True)
    pipe._runner = low._runner  # compiled already
    first = pipe(PROMPTS, **REQUEST).candidates
    close(first, expected.candidates)
    pipe.update({"unet": jax.tree.map(lambda x: 1.1 * x, checkpoint.params["unet"])})
    assert np.abs(pipe(PROMPTS, **REQUEST).candidates - first).max() > 1e-3


def test_eight_bits_move_clips_a_little(folder, low, expected):
    """The record says so, and the files' shapes are those that were promised."""
    options = {"quantize": "int8", "low_memory": True}
    pipe = Pipeline.from_pretrained(folder, progress=False, **options)
    output = pipe(PROMPTS, **REQUEST)
    assert output.metadata["quantize"] == "int8" and expected.metadata["quantize"] is None
    np.testing.assert_allclose(output.scores, expected.scores, atol=0.05)
    assert np.abs(output.scores - expected.scores).max() > 1e-6
    for name in pipe.params:
        assert jax.tree.map(np.shape, pipe.params[name]) == jax.tree.map(
            np.shape, pipe.params.shapes[name]
        )
    encoders, plain = (parts.stage_bytes(p.params.shapes)["text encoders"] for p in (pipe, low))
    assert encoders < 0.7 * plain


@pytest.mark.slow
def test_doctor_computes_the_peak(capsys):
    """From shapes alone; each stage holds less than the whole."""
    command = ["doctor", "--model", "tiny", "-dur", "0.32", "--dtype", "fp32"]
    for options, line in (([], "GB of weights"), (["--low_memory"], "GB at most, weights in turn")):
        assert main([*command, *options]) == 0
        assert line in capsys.readouterr().out


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
