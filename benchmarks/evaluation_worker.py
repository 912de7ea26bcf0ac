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
from pathlib import Path

import numpy as np

SETTINGS = json.loads(os.environ["EVALUATION_BENCHMARK"])
FOLDER = Path(SETTINGS["folder"])
VGGISH = "vggish-10086976.pth"


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
    """This package: networks are opened at the first use."""

    def __init__(self):
        from audioldm2_jax import backend
        from audioldm2_jax.evaluation.protocol import PROTOCOLS

        backend.enable_cache()
        self.protocols, self.backbones = PROTOCOLS, {}

    def features(self, name: str, clips: str, protocol, slot: str):
        from audioldm2_jax.evaluation.backbones.registry import open_backbone
        from audioldm2_jax.evaluation.clips import open_clips
        from audioldm2_jax.evaluation.features import extract

        spec = protocol.slot(slot)
        if name not in self.backbones:
            self.backbones[name] = open_backbone(spec, FOLDER / "weights" / spec.weights)
        opened = open_clips(FOLDER / clips, protocol)
        return extract(opened, self.backbones[name], spec.loader)

    def panns(self, protocol: str = "audioldm_eval"):
        self.features("panns", "few", self.protocols[protocol], "classifier")

    def vggish(self, protocol: str = "audioldm_eval"):
        self.features("vggish", "few", self.protocols[protocol], "fad")

    def _sets(self, network: str, protocol: str, slot: str):
        """Features of the reference and of the generated set."""
        return [
            self.features(network, clips, self.protocols[protocol], slot)
            for clips in ("reference", "generated")
        ]

    def audioldm_eval(self) -> dict:
        from audioldm2_jax.evaluation.metrics.frechet import frechet_distance
        from audioldm2_jax.evaluation.metrics.inception import inception_score
        from audioldm2_jax.evaluation.metrics.kl import kl_divergence

        x, y = self._sets("panns", "audioldm_eval", "classifier")
        p, q = self._sets("vggish", "audioldm_eval", "fad")
        assert x.names == y.names
        mean, deviation = inception_score(y.logits)
        return {
            "FD": frechet_distance(x.embeddings, y.embeddings),
            "FAD": frechet_distance(p.embeddings, q.embeddings),
            "KL": kl_divergence(x.logits, y.logits),
            "KL_sigmoid": kl_divergence(x.logits, y.logits, independent=True),
            "IS": mean,
            "IS deviation": deviation,
        }

    def kadtk(self) -> dict:
        from audioldm2_jax.evaluation.metrics.frechet import frechet_distance
        from audioldm2_jax.evaluation.metrics.infinity import frechet_infinity
        from audioldm2_jax.evaluation.metrics.kad import kernel_audio_distance

        x, y = self._sets("panns", "kadtk", "classifier")
        p, q = self._sets("vggish", "kadtk", "fad")
        line = frechet_infinity(p.embeddings, q.embeddings, replace=True)
        return {
            "KAD": kernel_audio_distance(x.embeddings, y.embeddings, bandwidth="generated"),
            "FAD": frechet_distance(p.embeddings, q.embeddings),
            "FAD_inf": line.value,
        }


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
            "IS deviation": result["inception_score_std"],
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
        # The draws of our toolkit, so that both fit one line.
        random = np.random.default_rng(0)
        choice, np.random.choice = np.random.choice, random.choice
        try:
            line = frechet.score_inf(reference, sorted(generated.glob("*.*")))
        finally:
            np.random.choice = choice
        return {"KAD": float(kad), "FAD": float(fad), "FAD_inf": float(line.score)}


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
