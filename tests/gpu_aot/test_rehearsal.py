"""Programs compiled for an H100 without one; no kernel runs and no time is measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from audioldm2_jax.rehearsal import hlo
from audioldm2_jax.rehearsal.kernels import read_kernels
from tests.rehearsal.small import RECORDED, compile_small

ROOT = Path(__file__).parent.parent.parent


def counts(text: str) -> dict:
    """{category: (kernels, FLOP)}."""
    sums: dict[str, tuple] = {}
    for kernel in read_kernels(hlo.parse(text)).kernels:
        number, flops = sums.get(kernel.category, (0, 0))
        sums[kernel.category] = number + kernel.count, flops + kernel.count * kernel.flops
    return sums


def rehearse(*arguments: str) -> dict:
    command = [sys.executable, "-m", "audioldm2_jax", "rehearse", *arguments, "-q"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_recorded_program_is_what_this_version_compiles():
    compiled, recorded = counts(compile_small()), counts(RECORDED.read_text())
    for category in ("gemm", "attention", "convolution", "reduction"):
        assert compiled[category] == recorded[category]


def test_a_step_of_the_unet():
    h100, h200 = (
        rehearse("--model=tiny", f"--topology={kind}", "--part=unet", "--seconds=2.56")
        for kind in ("h100", "h200")
    )
    assert h100["fits"] and h100["loops of unknown length"] == 0
    convolutions = h100["categories"]["convolution"]
    # Each of the four residual blocks' two and more: never none, never one for each clip.
    assert 8 < convolutions["kernels"] < 40 and convolutions["GFLOP"] > 0
    assert h100["GFLOP"] == pytest.approx(h200["GFLOP"])
    assert h200["ms roofline"] < h100["ms roofline"]
    assert any("audioldm2_jax/models/" in place["source"] for place in h100["heaviest"])


def test_a_training_step_with_contexts_of_odd_length():
    """One key: JAX refuses the gradient of cuDNN's attention to an odd number."""
    report = rehearse("--config=configs/pretrain.py:tiny", "--topology=h100", "--encoded")
    assert report["fits"] and report["categories"]["gemm"]["GFLOP"] > 0


def test_sampling_is_three_programs():
    report = rehearse("--model=tiny-audioldm", "--topology=h100", "--seconds=0.64", "--steps=3")
    assert set(report["programs"]) == {"condition", "sample", "render"}
    assert report["loops of unknown length"] == 0 and report["fits"]
    assert report["kernels"] == sum(p["kernels"] for p in report["programs"].values())
    step = rehearse("--model=tiny-audioldm", "--topology=h100", "--seconds=0.64", "--part=unet")
    # The loop runs three times; what it does not repeat, and merges, is a small part.
    assert report["programs"]["sample"]["GFLOP"] == pytest.approx(3 * step["GFLOP"], rel=0.1)


def test_a_training_step_on_two_gpus():
    report = rehearse("--config=configs/loa.py:tiny", "--topology=h100:2", "--config.batch=4")
    assert report["chips"] == 2 and report["fits"] and report["TFLOP"] > 0
    assert report["collectives"]["all-reduce"]["count"] >= 1
    assert report["categories"]["collective"]["GB sent"] > 0
    assert report["bound by"] in ("compute", "memory", "links")


def test_low_memory_is_its_largest_stage():
    options = ["--low_memory", "--quantize=int8", "--seconds=0.64", "--steps=3"]
    report = rehearse("--model=tiny-audioldm", "--topology=h100", *options)
    stages = report["stages"].values()
    assert report["fits"] and report["GB total"] == max(stage["GB total"] for stage in stages)
    assert all(0 < stage["GB weights"] < stage["GB total"] for stage in stages)
