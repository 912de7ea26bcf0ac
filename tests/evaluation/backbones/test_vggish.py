"""VGGish against Google's front end in NumPy and torchvggish's network in torch, random weights."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from audioldm2_jax import tree
from audioldm2_jax.checkpoints import single
from audioldm2_jax.checkpoints.convert import from_params
from audioldm2_jax.checkpoints.init import random_params
from audioldm2_jax.checkpoints.parts import PARTS
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.backbones.vggish import VGGish
from audioldm2_jax.features.vggish import vggish_log_mel
from audioldm2_jax.presets import VGGishConfig
from tests.evaluation.backbones.independence import check_independence

CONFIG = VGGishConfig(stages=((4,), (6,), (6, 8), (8, 8)), hidden=(12, 10), width=5)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A file as torchvggish publishes it."""
    state = from_params(random_params("vggish", CONFIG), PARTS["vggish"].table(CONFIG))
    path = tmp_path_factory.mktemp("vggish") / "vggish-10086976.pth"
    torch.save({name: torch.tensor(np.array(value)) for name, value in state.items()}, path)
    return path


def log_mel(wave):
    """Log-mel frames in float64, by the formulas of Google's mel_features.py: [frames, 64]."""

    def mel(hertz):
        return 1127 * np.log(1 + hertz / 700)

    count = 1 + (len(wave) - 400) // 160
    frames = np.stack([wave[160 * i : 160 * i + 400] for i in range(count)]).astype(np.float64)
    window = 0.5 - 0.5 * np.cos(2 * np.pi / 400 * np.arange(400))
    magnitude = np.abs(np.fft.rfft(frames * window, 512))
    edges, bins = np.linspace(mel(125), mel(7500), 66), mel(np.linspace(0, 8000, 257))
    filters = np.empty((257, 64))
    for i in range(64):
        low, centre, high = edges[i : i + 3]
        filters[:, i] = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre))
    filters = np.maximum(filters, 0)
    filters[0] = 0
    return np.log(magnitude @ filters + 0.01)


def torch_embeddings(state, patches):
    """The network by torch: patches [P, 96, 64] -> [P, width], the last ReLU removed."""
    x = torch.tensor(patches, dtype=torch.float32)[:, None]
    for index in (0, 3, 6, 8, 11, 13):
        x = F.relu(
            F.conv2d(
                x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], padding=1
            )
        )
        if index in (0, 3, 8, 13):
            x = F.max_pool2d(x, 2)
    x = x.permute(0, 2, 3, 1).flatten(1)
    for i in (0, 2, 4):
        x = F.linear(x, state[f"embeddings.{i}.weight"], state[f"embeddings.{i}.bias"])
        x = F.relu(x) if i < 4 else x
    return x


def waves(*lengths):
    rng = np.random.default_rng(0)
    return [0.1 * rng.standard_normal(n).astype(np.float32) for n in lengths]


def test_embeddings_are_those_of_the_definition(file):
    """A clip of 2 s has two patches; odd clips are filled up to one, and ends are dropped."""
    state, clips = torch.load(file), waves(32000, 15600, 30959, 30960, 7)
    outputs = VGGish(file)(clips)
    assert [len(output.embeddings) for output in outputs] == [2, 1, 1, 2, 1]
    for clip, output in zip(clips, outputs):
        mel = log_mel(np.pad(clip, (0, max(0, 15600 - len(clip)))))
        patches = mel[: len(mel) // 96 * 96].reshape(-1, 96, 64)
        assert output.logits is None
        np.testing.assert_allclose(
            output.embeddings, torch_embeddings(state, patches), rtol=1e-4, atol=1e-4
        )


def test_clips_are_independent(file):
    check_independence(lambda devices: VGGish(file, devices=devices), waves(32000, 15600, 30960, 7))


def test_counts_of_patches():
    """10 s have 998 frames and 10 patches, and so have 10.24 s."""
    backbone = VGGish.__new__(VGGish)
    backbone._hop, backbone._span = 15360, 15600
    assert [len(backbone.rows(np.zeros(n))) for n in (160000, 163840)] == [10, 10]
    np.testing.assert_allclose(
        vggish_log_mel(waves(15600)[0][None])[0], log_mel(waves(15600)[0]), atol=1e-4
    )


def test_patches_of_overlapping_seconds(file):
    """Google's FAD takes a patch from each second that fits, half a second apart."""
    (clip,), state = waves(33000), torch.load(file)
    backbone = VGGish(file, hop_seconds=0.5)
    (output,) = backbone([clip])
    patches = [log_mel(clip[start : start + 16000])[:96] for start in (0, 8000, 16000)]
    expected = torch_embeddings(state, np.stack(patches))
    np.testing.assert_allclose(output.embeddings, expected, rtol=1e-4, atol=1e-4)
    assert backbone.settings != VGGish(file).settings


def test_the_folder_of_a_file_is_the_file(file, tmp_path):
    loaded = single.load(file)
    assert loaded.config == CONFIG
    single.save(loaded, tmp_path / "vggish")
    again = VGGish(tmp_path / "vggish")
    clips = waves(16000)
    np.testing.assert_array_equal(again(clips)[0].embeddings, VGGish(file)(clips)[0].embeddings)
    shapes = PARTS["vggish"].shapes(VGGishConfig())
    assert shapes["hidden_0"]["kernel"].shape == (12288, 4096)
    assert tree.count(shapes) == 72_141_184


def test_other_files_are_refused(file, tmp_path):
    state = torch.load(file)
    del state["features.3.weight"]
    torch.save(state, tmp_path / "part.pth")
    with pytest.raises(InputError, match="part.pth"):
        VGGish(tmp_path / "part.pth")
    with pytest.raises(InputError, match="at least one sample"):
        VGGish(file, hop_seconds=1e-9)
