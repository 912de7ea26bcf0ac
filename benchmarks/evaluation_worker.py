"""A process of benchmarks/evaluation.py: one toolkit, which computes on demand.

It reads names of tasks from stdin and answers each by a line of JSON. The peers' code comes from
the folders that SETTINGS names; nothing of it is in this repository. kadtk starts processes that
import this file again, hence the work at import.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import types
from functools import partial
from pathlib import Path

import numpy as np

SETTINGS = json.loads(os.environ["EVALUATION_BENCHMARK"])
FOLDER = Path(SETTINGS["folder"])
AUDIOLDM_EVAL = ("FD", "FAD", "KL", "KL_sigmoid", "IS")
LEAST = 525  # patches, from which FAD-infinity of 25 points from 500 on has different numbers


def import_path() -> None:
    """Puts the peer's code before ours, and replaces what it imports but cannot have here."""
    peers = SETTINGS["peers"]
    sys.path[:0] = [peers[SETTINGS["toolkit"]], peers["packages"]]
    # torchaudio's Python code is enough for its resampler; its native library is for one torch.
    extension = types.ModuleType("torchaudio._extension")
    extension._IS_TORCHAUDIO_EXT_AVAILABLE = False
    extension._check_cuda_version = extension.fail_if_no_align = lambda function=None: function
    sys.modules["torchaudio._extension"] = extension
    # audioldm_eval imports these for PSNR, SSIM and LSD, which its main does not compute.
    for name, attributes in {
        "skimage": (),
        "skimage.metrics": ("peak_signal_noise_ratio", "structural_similarity"),
        "ssr_eval": (),
        "ssr_eval.metrics": ("AudioMetrics",),
    }.items():
        module = sys.modules[name] = types.ModuleType(name)
        for attribute in attributes:
            setattr(module, attribute, None)


def patch_peer() -> None:
    """Reads and writes sounds by soundfile, and takes weights from the benchmark's folder."""
    import soundfile
    import torch
    import torchaudio

    def load(path):
        wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
        return torch.from_numpy(wave.T.copy()), rate

    def save(path, wave, rate, encoding=None, bits_per_sample=None):
        samples = (wave.double() * 32768).round().clamp(-32768, 32767)
        soundfile.write(path, samples.numpy().astype(np.int16).T, rate, subtype="PCM_16")

    torchaudio.load, torchaudio.save = load, save
    load_hub = torch.hub.load
    torch.hub.load = lambda repository, name: load_hub(
        SETTINGS["peers"]["torchvggish"], name, source="local"
    )
    if SETTINGS["toolkit"] == "kadtk":
        import kadtk.model_loader

        # It looks for weights beside this file, else it would download them.
        kadtk.model_loader.__file__ = str(FOLDER / "kadtk" / "model_loader.py")


class Ours:
    """This package. Networks are opened at the first use, and kept, as the peers keep theirs."""

    def __init__(self):
        from audioldm2_jax import backend
        from audioldm2_jax.evaluation.protocol import PROTOCOLS

        backend.enable_cache()
        self.protocols, self.plans = PROTOCOLS, {}

    def plan(self, protocol: str):
        from audioldm2_jax.evaluation.plan import plan_evaluation

        if protocol not in self.plans:
            metrics = AUDIOLDM_EVAL if protocol == "audioldm_eval" else ("KAD", "FAD")
            weights = {
                slot: FOLDER / "weights" / spec.weights
                for slot, spec in self.protocols[protocol].slots
                if slot != "clap"
            }
            self.plans[protocol] = plan_evaluation(self.protocols[protocol], metrics, weights)
        return self.plans[protocol]

    def features(self, clips: str, protocol: str, metric: str):
        """Features of a folder by the network that serves a metric."""
        from audioldm2_jax.evaluation.clips import open_clips
        from audioldm2_jax.evaluation.features import extract

        network = self.plan(protocol).networks[metric]
        opened = open_clips(FOLDER / clips, self.protocols[protocol])
        return extract(opened, network.backbone, network.spec.loader)

    def panns(self, protocol: str):
        self.features("few", protocol, "FD" if protocol == "audioldm_eval" else "KAD")

    def vggish(self, protocol: str):
        self.features("few", protocol, "FAD")

    def audioldm_eval(self) -> dict:
        """All that `audioldm2-jax evaluate --bootstrap 0` does but its report."""
        from audioldm2_jax.evaluation.clips import open_clips
        from audioldm2_jax.evaluation.evaluate import run_plan
        from audioldm2_jax.evaluation.figures import Sampling

        plan = self.plan("audioldm_eval")
        sets = [open_clips(FOLDER / name, plan.protocol) for name in ("generated", "reference")]
        result = run_plan(plan, *sets, Sampling(0), progress=False)
        return {metric: result.figure(metric).value for metric in AUDIOLDM_EVAL}

    def kadtk(self) -> dict:
        from audioldm2_jax.evaluation.metrics.frechet import frechet_distance
        from audioldm2_jax.evaluation.metrics.infinity import frechet_infinity
        from audioldm2_jax.evaluation.metrics.kad import kernel_audio_distance

        x, y, p, q = (
            self.features(clips, "kadtk", metric).embeddings
            for metric in ("KAD", "FAD")
            for clips in ("reference", "generated")
        )
        result = {
            "KAD": kernel_audio_distance(x, y, bandwidth="generated"),
            "FAD": frechet_distance(p, q),
        }
        if len(q) >= LEAST:
            result["FAD_inf"] = frechet_infinity(p, q, replace=True).value
        return result


class AudioldmEval:
    """audioldm_eval with its backbone cnn14 at 16 kHz, on the CPU."""

    def __init__(self):
        import torch
        from audioldm_eval import EvaluationHelper

        self.helper = EvaluationHelper(16000, torch.device("cpu"), backbone="cnn14")
        self.folder = FOLDER / "audioldm_eval"

    def panns(self):
        from audioldm_eval.datasets.load_mel import WaveDataset
        from torch.utils.data import DataLoader

        clips = WaveDataset(str(self.folder / "few"), 16000)
        self.helper.get_featuresdict(DataLoader(clips, batch_size=1, num_workers=6))

    def vggish(self):
        self.helper.frechet.get_embeddings(str(self.folder / "few"))

    def audioldm_eval(self) -> dict:
        for cache in (*self.folder.glob("*cache.*"), *self.folder.glob("*.json")):
            cache.unlink()  # else it would return its former features
        generated, reference = (str(self.folder / name) for name in ("generated", "reference"))
        result = self.helper.main(generated, reference)
        return {
            "FD": result["frechet_distance"],
            "FAD": float(result["frechet_audio_distance"]),
            "KL": result["kullback_leibler_divergence_softmax"],
            "KL_sigmoid": result["kullback_leibler_divergence_sigmoid"],
            "IS": result["inception_score_mean"],
        }


class Kadtk:
    """kadtk, with as many processes as there are cores (its default, 8, is slower on 2)."""

    def __init__(self):
        from kadtk.model_loader import PANNsModel, VGGishModel

        self.folder = FOLDER / "kadtk"
        self.networks = {"panns": PANNsModel("cnn14-16k"), "vggish": VGGishModel()}
        self.loaders: dict = {}

    def _clear(self) -> None:
        for clips in ("few", "reference", "generated"):
            for cache in ("embeddings", "convert", "kernel_stats", "fad_stats"):
                shutil.rmtree(self.folder / clips / cache, ignore_errors=True)

    def _embed(self, network: str) -> None:
        """The clips one after another in this process, whose network is loaded once."""
        from kadtk.emb_loader import EmbeddingLoader

        self._clear()
        if network not in self.loaders:
            self.loaders[network] = EmbeddingLoader(self.networks[network])
        for path in sorted((self.folder / "few").glob("*.*")):
            self.loaders[network].cache_embedding_file(path)

    def panns(self):
        self._embed("panns")

    def vggish(self):
        self._embed("vggish")

    def kadtk(self) -> dict:
        import logging

        from kadtk.emb_loader import cache_embedding_files
        from kadtk.fad import FrechetAudioDistance
        from kadtk.kad import KernelAudioDistance
        from kadtk.model_loader import PANNsModel, VGGishModel

        self._clear()
        reference, generated = self.folder / "reference", self.folder / "generated"
        networks = PANNsModel("cnn14-16k"), VGGishModel()
        for network in networks:
            for clips in (reference, generated):
                cache_embedding_files(clips, network, workers=os.cpu_count())
        log = logging.getLogger("kadtk")
        kad = KernelAudioDistance(networks[0], "cpu", logger=log).score(reference, generated)
        frechet = FrechetAudioDistance(networks[1], "cpu", logger=log)
        fad = frechet.score(reference, generated)
        result = {"KAD": float(kad), "FAD": float(fad)}
        if len(frechet.emb_loader.load_embeddings(generated)) >= LEAST:
            result["FAD_inf"] = self._infinity(frechet)
        return result

    def float64(self) -> dict:
        """FAD and FAD-infinity of the last embeddings, by the same code in double precision."""
        import logging

        import kadtk.fad
        import torch
        from kadtk.model_loader import VGGishModel

        for clips in ("reference", "generated"):  # statistics in single precision
            shutil.rmtree(self.folder / clips / "fad_stats", ignore_errors=True)
        function = kadtk.fad.calc_frechet_distance
        kadtk.fad.calc_frechet_distance = partial(function, precision=torch.float64)
        try:
            log = logging.getLogger("kadtk")
            frechet = kadtk.fad.FrechetAudioDistance(VGGishModel(), "cpu", logger=log)
            fad = frechet.score(self.folder / "reference", self.folder / "generated")
            result = {"FAD": float(fad), "FAD_inf": self._infinity(frechet)}
        finally:
            kadtk.fad.calc_frechet_distance = function
        return {f"{metric} in float64": value for metric, value in result.items()}

    def _infinity(self, frechet) -> float:
        """FAD-infinity with the draws of our toolkit, so that both fit one line."""
        choice, np.random.choice = np.random.choice, np.random.default_rng(0).choice
        try:
            generated = sorted((self.folder / "generated").glob("*.*"))
            return float(frechet.score_inf(self.folder / "reference", generated).score)
        finally:
            np.random.choice = choice


TOOLKITS = {"ours": Ours, "audioldm_eval": AudioldmEval, "kadtk": Kadtk}


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what peers print is no answer
    toolkit = TOOLKITS[SETTINGS["toolkit"]]()
    for line in sys.stdin:
        name, *arguments = line.split()
        print(json.dumps(getattr(toolkit, name)(*arguments)), file=answers, flush=True)


if SETTINGS["toolkit"] != "ours":
    import_path()
    patch_peer()
if __name__ == "__main__":
    main()
