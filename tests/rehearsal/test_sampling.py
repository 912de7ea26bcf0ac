"""What the command refuses, and the models and chips that it knows."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from audioldm2_jax.cli.main import main
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import PRESETS
from audioldm2_jax.rehearsal import chips
from audioldm2_jax.rehearsal.sampling import named_config

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    "words, message",
    [
        (["--topology=h100"], "give --config of a training run, or --model"),
        (["--topology=h100", "--model=tiny", "--config=x"], "give --config"),
        (["--topology=h100", "--model=tiny", "--encoded"], "--encoded: is for training"),
        (["--topology=h100", "--model=tiny", "--config.batch=8"], "--config.batch=8: is for"),
        (["--topology=h100", "--config=x", "--steps=5"], "--steps: is for sampling"),
        (["--topology=h100", "--model=tiny", "--part=vae"], "choose one of generate condition"),
        (["--topology=h100:3", "--model=tiny"], "a host has 1, 2, 4 or 8 GPUs, as h100:8"),
        (["--topology=h900", "--model=tiny"], "choose a size of v5e v5p v6e h100 h200"),
        (["--topology=h100", "--config=x", "--low_memory"], "--low_memory: is for sampling"),
        (["--topology=h100", "--model=tiny", "--quantize=int4"], "choose one of int8"),
        (["--topology=h100", "--model=tiny", "--low_memory", "--part=unet"], "leave --part out"),
        (["--topology=h100", "--model=tiny", "-b", "0"], "batchsize (-b)"),
        (["--topology=h100", "--model=tiny", "--seconds=-1"], "must be a positive number"),
    ],
)
def test_one_line_and_status_2(words, message, capsys):
    assert main(["rehearse", "-q", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_missing_plugin(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"CUDA 13 \(not a GPU\) is needed: pip install 'audio"):
        chips.devices_of("h100")
    with pytest.raises(InputError, match=r"libtpu is needed: pip install 'audioldm2-jax\[tpu\]'"):
        chips.devices_of("v5e:4x4")


@pytest.mark.parametrize(
    "name, preset",
    [("audioldm2", "base"), ("cvssp/audioldm2-large", "large"), ("audioldm-s-full", "audioldm-s")],
)
def test_published_models_need_no_files(name, preset):
    assert named_config(name) == PRESETS[preset]()


def test_a_target_differs_by_its_memory():
    h100, h200 = (chips.gpu_target(chips.CHIPS[kind]) for kind in ("h100", "h200"))
    assert "memory_bandwidth: 4800000000000\n" in h200
    changed = [line for line in h200.splitlines() if line not in h100.splitlines()]
    assert [line.split(":")[0].strip() for line in changed] == [
        "memory_bandwidth",
        "device_memory_size",
        "device_description_str",
    ]


@pytest.mark.slow
def test_a_text_encoder_on_a_tpu():
    """In a process of its own: libtpu reads its environment once."""
    command = [sys.executable, "-m", "audioldm2_jax", "rehearse", "--topology=v5e:1x1", "-q"]
    command += ["--model=tiny-audioldm", "--part=condition", "--steps=3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["fits"] and report["loops of unknown length"] == 0 and report["steps"] == 3
    assert report["categories"]["gemm"]["GFLOP"] > 0 and report["GB moved"] > 0
    assert any("audioldm2_jax/models/" in place["source"] for place in report["heaviest"])
