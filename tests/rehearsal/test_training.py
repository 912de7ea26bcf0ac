"""The real step compiled for TPUs that are not there; the traffic read off its text."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from audioldm2_jax.cli.main import main
from audioldm2_jax.rehearsal.chips import CHIPS

ROOT = Path(__file__).parent.parent.parent


def test_unknown_topologies(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    command = ["rehearse", "--config=configs/audiomae.py:tiny", "-q"]
    assert main([*command, "--topology=v9:4x4"]) == 2
    assert "choose a size of v5e v5p v6e h100 h200, as v5e:4x4" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("topology", ["v5e:2x2", "v5p:2x2x1", "v6e:2x2"])
def test_a_batch_that_no_chip_holds(topology):
    """The compiler tells the memory that a program may use; ours is the same."""
    command = [sys.executable, "-m", "audioldm2_jax", "rehearse", f"--topology={topology}", "-q"]
    command += ["--config=configs/loa.py:tiny", f"--config.batch={1 << 23}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    report, limit = json.loads(done.stdout), CHIPS[topology.partition(":")[0]].memory
    assert not report["fits"] and report["GB total"] > report["GB chip"]
    assert report["GB chip"] == pytest.approx(limit / 1e9, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("topology", "chips", "mesh"),
    [
        ("v5e:4x4", 16, "data=4 fsdp=4"),
        ("v5p:2x2x2", 8, "data=8"),
        # No product of the torus' sides gives 64 and 4.
        ("v6e:16x16", 256, "data=64 fsdp=4"),
    ],
)
def test_a_step_for_a_pod(topology, chips, mesh):
    """In a process of its own: libtpu reads its environment once."""
    command = [sys.executable, "-m", "audioldm2_jax", "rehearse", f"--topology={topology}", "-q"]
    command += ["--config=configs/loa.py:tiny", f"--config.batch={2 * chips}"]
    command += [f"--config.mesh.{axis}" for axis in mesh.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["chips"] == chips and report["fits"] and report["TFLOP"] > 0
    assert report["collectives"]["all-reduce"]["count"] >= 1
    assert report["bound by"] in ("compute", "memory", "links")
    # XLA's own count has what is not a product, too; a TPU's loops count once there.
    assert 0 < report["GFLOP"] < 1.1e3 * report["TFLOP"] and report["loops of unknown length"] == 0
