"""Two processes of one job: each computes its clips; both get all features, scores and errors."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent.parent
PROGRAM = """
import sys
from pathlib import Path
import jax
import numpy as np
from audioldm2_jax import distributed
from audioldm2_jax.errors import InputError
distributed.initialize()
from audioldm2_jax.evaluation.backbones.base import Backbone, Batches, Row
from audioldm2_jax.evaluation.features import extract
from audioldm2_jax.evaluation.judged import judge_clips
from audioldm2_jax.evaluation.judges import JUDGES, Judge
from audioldm2_jax.evaluation.clips import Clip
from audioldm2_jax.evaluation.rules import LoaderRules

class Double(Backbone):
    name, sample_rate, sha256 = "double", 100, "0" * 64
    def __init__(self):
        super().__init__(Batches({}, lambda params, rows, extents: (2 * rows, None)))
    def rows(self, waveform):
        return [Row(waveform, 0)] * (1 + int(waveform[0]) % 3)

class Set:
    name, clips = "set", tuple(Clip(f"{i:02}", Path()) for i in range(7))
    def read(self, clip, rules, rate):
        return np.array([int(clip.name), 1], np.float32)
    def content_hash(self, clip):
        return str(int(clip.name) % 3)  # both hosts have clips of equal content

judged = []
def score(sound, reference):
    judged.append(sound.waveform[0])
    return dict.fromkeys(judge.metrics, (float(sound.waveform[0] % 3) or np.nan, 1.0))

class Installed(Judge):
    missing = lambda self: None
    sha256 = lambda self: "0" * 64

judge = JUDGES["dnsmos"]
judge = Installed(**(vars(judge) | {"score": score}))
features = extract(Set(), Double(), LoaderRules())
cached = judge_clips(judge, Set(), Set(), {}, cache=Path(sys.argv[2]), progress=False)
judged.clear()
scores = judge_clips(judge, Set(), Set(), {}, progress=False)["DNSMOS_SIG"].values
np.testing.assert_array_equal(cached["DNSMOS_SIG"].values, scores)
try:
    with distributed.shared_errors():
        if jax.process_index() == 1:
            raise InputError("weights: no such file")
        extract(Set(), Double(), LoaderRules())  # waits for the other host
except InputError as error:
    ended = str(error)
np.savez(
    sys.argv[1], names=features.names, index=features.clip_index, values=features.embeddings,
    judged=judged, scores=scores, ended=ended,
)
"""


@pytest.mark.slow
def test_two_hosts_have_all_features_and_scores(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    job = {"COORDINATOR_ADDRESS": f"127.0.0.1:{port}", "NUM_PROCESSES": "2"}
    job |= {"PYTHONPATH": str(ROOT), "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    hosts = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path / f"{i}.npz"), str(tmp_path)],
            env=os.environ | job | {"PROCESS_ID": str(i)},
        )
        for i in range(2)
    ]
    assert [host.wait(timeout=120) for host in hosts] == [0, 0]
    for i in range(2):
        result = np.load(tmp_path / f"{i}.npz")
        assert list(result["names"]) == [f"{k:02}" for k in range(7)]
        index = np.repeat(np.arange(7), 1 + np.arange(7) % 3)
        np.testing.assert_array_equal(result["index"], index)
        np.testing.assert_array_equal(result["values"], 2 * np.stack([index, index**0], 1))
        np.testing.assert_array_equal(result["judged"], np.arange(i, 7, 2))
        np.testing.assert_array_equal(result["scores"], [np.nan, 1, 2, np.nan, 1, 2, np.nan])
        assert str(result["ended"]) == "process 1: " * (i == 0) + "weights: no such file"
