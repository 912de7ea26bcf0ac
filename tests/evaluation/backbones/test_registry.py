"""Published weights: where they are looked for, and what is said where they lack."""

import importlib.metadata
from types import SimpleNamespace

import numpy as np
import pytest

from audioldm2_jax.checkpoints import single
from audioldm2_jax.checkpoints.init import random_params
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.backbones import registry, weights
from audioldm2_jax.evaluation.backbones.registry import BACKBONES, open_backbone
from audioldm2_jax.presets import PANNsConfig

CONFIG = PANNsConfig(channels=(4, 8), width=6, classes=2)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "audioldm2-jax" / "backbones"


def spec(name="panns", file="Cnn14_16k_mAP=0.438.pth", rate=16000):
    return SimpleNamespace(name=name, weights=file, sample_rate=rate, hop_seconds=0.0)


def test_missing_weights_are_named_with_their_address(cache, monkeypatch):
    monkeypatch.setattr(registry, "installed", lambda: None)
    for name, file, address in (
        ("panns", "Cnn14_16k_mAP=0.438.pth", "https://zenodo.org/records/3987831"),
        ("vggish", "vggish-10086976.pth", "https://github.com/harritaylor/torchvggish/releases"),
        ("clap", "630k-audioset-best.pt", "https://huggingface.co/lukewys/laion_clap"),
        ("musicnn", "MTT_musicnn", "https://github.com/jordipons/musicnn"),
    ):
        assert name in BACKBONES
        with pytest.raises(InputError) as error:
            open_backbone(spec(name, file))
        for part in (file, f"--weights {name}=PATH", str(cache), address):
            assert part in str(error.value)
    with pytest.raises(InputError, match="backbone 'openl3': choose one of panns vggish"):
        open_backbone(spec("openl3"))


def test_the_cache_folder_is_searched(cache, tmp_path):
    folder = cache / "Cnn14_16k_mAP=0.438.pth"  # a folder serves as a file does
    folder.parent.mkdir(parents=True)
    single.save(single.Single("panns", CONFIG, random_params("panns", CONFIG)), folder)
    found = open_backbone(spec())
    named = open_backbone(spec(), folder)
    assert found.sha256 == named.sha256 == weights.sha256(folder) and len(found.sha256) == 64
    with pytest.raises(InputError, match="a network for 16000 Hz; the protocol has panns at 32000"):
        open_backbone(spec(rate=32000), folder)
    other = random_params("panns", CONFIG, seed=1)
    single.save(single.Single("panns", CONFIG, other), tmp_path / "other")
    assert weights.sha256(tmp_path / "other") != found.sha256
    with pytest.raises(InputError, match="holds a panns; VGGish is needed"):
        open_backbone(spec("vggish"), folder)


def test_a_configuration_is_read_without_its_weights(tmp_path):
    folder = tmp_path / "tagger"
    single.save(single.Single("panns", CONFIG, random_params("panns", CONFIG)), folder)
    for file in folder.glob("*.safetensors"):
        file.unlink()
    assert [file.name for file in folder.iterdir()] == ["config.json"]
    assert single.read_config(folder) == ("panns", CONFIG)
    (folder / "config.json").write_text("{}")
    with pytest.raises(InputError, match="nor a config.json of a known model"):
        single.read_config(folder)


def test_an_installed_musicnn_is_found_without_an_import(cache, tmp_path, monkeypatch):
    """The package would import TensorFlow; only its place is asked for."""
    cache.mkdir(parents=True)
    (cache / "musicnn-0.1.0-py3-none-any.whl").write_bytes(np.zeros(9, np.uint8).tobytes())
    with monkeypatch.context() as patch:
        patch.setattr(registry, "installed", lambda: None)
        with pytest.raises(InputError, match="musicnn-0.1.0-py3-none-any.whl: no readable wheel"):
            open_backbone(spec("musicnn", "MTT_musicnn"))
    info = tmp_path / "site" / "musicnn-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: musicnn\nVersion: 0.1.0\n")
    (tmp_path / "site" / "musicnn").mkdir()
    (tmp_path / "site" / "musicnn" / "__init__.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert importlib.metadata.version("musicnn") == "0.1.0"
    with pytest.raises(InputError, match="site/musicnn: holds no MTT_musicnn"):
        open_backbone(spec("musicnn", "MTT_musicnn"))


def test_the_hash_of_a_file_is_sha256(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert weights.sha256(tmp_path / "x").startswith("ba7816bf8f01cfea")
    with pytest.raises(InputError, match="no weights found"):
        weights.sha256(tmp_path)
