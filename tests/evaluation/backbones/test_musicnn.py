"""MusicNN against a torch formulation, from files as its wheel has them, written by the test."""

import json
import zipfile

import librosa
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from audioldm2_jax.checkpoints import single
from audioldm2_jax.checkpoints.convert import from_params
from audioldm2_jax.checkpoints.init import random_params
from audioldm2_jax.checkpoints.parts import PARTS
from audioldm2_jax.data.soundscapes import make_clip
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.backbones.musicnn import MusicNN
from audioldm2_jax.evaluation.backbones.registry import open_backbone
from audioldm2_jax.evaluation.metrics.frechet import frechet_distance
from audioldm2_jax.evaluation.protocol import PROTOCOLS
from audioldm2_jax.presets import MusicNNConfig
from tests.checkpoints.bundles import write_bundle
from tests.evaluation.backbones.independence import check_independence

CONFIG = MusicNNConfig(((38, 5), (67, 4)), ((128, 3), (64, 3), (32, 2)), 6, 7, 3)
LABELS = ("guitar", "slow", "choral")


def tensorflow_state():
    """Tensors under TensorFlow's names, and what training leaves beside them."""
    state = from_params(random_params("musicnn", CONFIG), PARTS["musicnn"].table(CONFIG))
    return state | {"beta1_power": np.float32(0), "dense.kernel.Adam": np.zeros((2, 2), np.float32)}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """(the folder around the package, its wheel)."""
    root = tmp_path_factory.mktemp("musicnn")
    folder = root / "site" / "musicnn" / "MTT_musicnn"
    folder.mkdir(parents=True)
    write_bundle(folder / ".index", tensorflow_state())
    (folder / "config.json").write_text(json.dumps({"n_frames": 187}))
    labels = f"import nothing_that_exists\nSR = 16000\nMTT_LABELS = {list(LABELS)!r}\n"
    (folder.parent / "configuration.py").write_text(labels)
    with zipfile.ZipFile(root / "musicnn-0.1.0-py3-none-any.whl", "w") as archive:
        for file in (root / "site").rglob("*"):
            archive.write(file, file.relative_to(root / "site"))
    return root / "site", root / "musicnn-0.1.0-py3-none-any.whl"


def torch_musicnn(state, wave):
    """(embeddings [P, 7], logits [P, 3]) of a clip, as the package computes them."""
    state = {name: torch.tensor(np.array(value)) for name, value in state.items()}
    mel = librosa.feature.melspectrogram(
        y=wave, sr=16000, n_fft=512, hop_length=256, n_mels=96, pad_mode="reflect"
    ).T
    mel = np.log10(10000 * mel.astype(np.float16).astype(np.float32) + 1)
    mel = torch.tensor(mel[: len(mel) // 187 * 187].reshape(-1, 1, 187, 96))

    def norm(x, i):
        name = f"batch_normalization_{i}" if i else "batch_normalization"
        names = ("moving_mean", "moving_variance", "gamma", "beta")
        return F.batch_norm(x, *(state[f"{name}.{n}"] for n in names), eps=1e-3)

    def conv(x, i, before, after):
        name = f"conv2d_{i}" if i else "conv2d"
        kernel = state[f"{name}.kernel"].permute(3, 2, 0, 1)
        return F.relu(F.conv2d(F.pad(x, (0, 0, before, after)), kernel, state[f"{name}.bias"]))

    x = norm(mel, 0)
    pads = ((3, 3), (3, 3), (63, 64), (31, 32), (15, 16))
    front = [norm(conv(x, i, *pad), i + 1).amax(3) for i, pad in enumerate(pads)]
    x = torch.cat(front, 1)  # [P, channels, frames]
    layers, h = [x], x
    for i in range(3):
        # Channels as the second axis of space.
        y = norm(conv(h.transpose(1, 2)[:, None], 5 + i, 3, 3), 6 + i)[..., 0]
        h = y if i == 0 else h + y
        layers.append(h)
    x = torch.cat(layers, 1)
    x = norm(torch.stack([x.amax(2), x.mean(2)], 2).flatten(1), 9)
    x = norm(F.relu(x @ state["dense.kernel"] + state["dense.bias"]), 10)
    return x, x @ state["dense_1.kernel"] + state["dense_1.bias"]


def waves(*lengths):
    rng = np.random.default_rng(0)
    return [0.05 * rng.standard_normal(n).astype(np.float32) for n in lengths]


def test_features_are_those_of_the_package(package):
    """6 s have two patches; the end is dropped; one patch takes 47616 samples."""
    clips, state = waves(96000, 47616, 95487, 95488), tensorflow_state()
    backbone = MusicNN(package[0])
    outputs = backbone(clips)
    assert [len(output.embeddings) for output in outputs] == [2, 1, 1, 2]
    for clip, output in zip(clips, outputs):
        embeddings, logits = torch_musicnn(state, clip)
        np.testing.assert_allclose(output.embeddings, embeddings, rtol=1e-3, atol=1e-3)
        probabilities = torch.sigmoid(logits).mean(0)
        np.testing.assert_allclose(1 / (1 + np.exp(-output.logits)), probabilities, atol=1e-4)


def test_clips_are_independent(package):
    check_independence(
        lambda devices: MusicNN(package[0], devices=devices), waves(96000, 47616, 95488, 7)
    )


def test_wheel_folder_and_our_form_are_one(package, tmp_path):
    site, wheel = package
    opened = [MusicNN(path) for path in (site, site / "musicnn", wheel)]
    single.save(single.from_tensors(_tensors(site), "x"), tmp_path / "ours")
    ours, clips = MusicNN(tmp_path / "ours"), waves(3000)
    expected = opened[0](clips)[0]
    for backbone in opened:
        assert backbone.labels == LABELS and backbone.sha256 == opened[0].sha256
        np.testing.assert_array_equal(backbone(clips)[0].embeddings, expected.embeddings)
    np.testing.assert_array_equal(ours(clips)[0].logits, expected.logits)
    assert ours.labels == ("0", "1", "2")


def _tensors(site):
    from audioldm2_jax.checkpoints import weights

    return weights.read(site / "musicnn" / "MTT_musicnn" / ".index")


def test_logits_of_a_clip_do_not_overflow():
    logits = MusicNN.clip_logits(None, np.array([[200.0, -200.0, 3.0], [200.0, -200.0, 3.0]]))
    np.testing.assert_allclose(logits, [200, -200, 3], rtol=1e-6)


def test_what_is_missing_is_named(package, tmp_path):
    site, wheel = package
    with pytest.raises(InputError, match="holds no MSD_musicnn; name the wheel of musicnn"):
        MusicNN(site, "MSD_musicnn")
    with pytest.raises(InputError, match="holds no musicnn/MSD_musicnn/.index"):
        MusicNN(wheel, "MSD_musicnn")
    content = wheel.read_bytes()
    (tmp_path / "cut.whl").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="cut.whl: no readable wheel"):
        MusicNN(tmp_path / "cut.whl")


def test_the_published_networks_have_this_size():
    """MTT_musicnn's checkpoint holds these tensors, Adam's moments aside."""
    shapes = PARTS["musicnn"].shapes(MusicNNConfig())
    assert shapes["timbral_1_conv"]["kernel"].shape == (7, 67, 1, 204)
    assert shapes["middle_0_conv"]["kernel"].shape == (7, 561, 64)
    assert shapes["hidden"]["kernel"].shape == (1506, 200)
    assert shapes["norm_input"]["scale"].shape == (1,)


def test_published_weights_know_music():
    """The wheel's own network, which nobody here trained, on synthetic sounds."""
    backbone = open_backbone(PROTOCOLS["musicnn"].slot("fad"))
    assert backbone.sha256.startswith("5a310d76") and len(backbone.labels) == 50

    def listen(seed, **kind):
        clips = [make_clip(seed, i, seconds=3.1, **kind).audio for i in range(12)]
        outputs = backbone(clips)
        logits = np.mean([output.logits for output in outputs], 0)
        tags = {backbone.labels[i] for i in np.argsort(-logits)[:5]}
        return np.concatenate([output.embeddings for output in outputs]), tags

    music, tags = listen(0, kinds={"music": 1.0})
    assert {"classical", "guitar"} <= tags
    more, _ = listen(5, kinds={"music": 1.0})
    same = frechet_distance(music, more)
    for name in ("drill", "white_noise"):
        other, tags = listen(0, only=name)
        assert frechet_distance(music, other) > 2 * same
        assert "guitar" not in tags
