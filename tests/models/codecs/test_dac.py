"""DAC agrees with transformers' DacModel, and reads its folder and the authors' file."""

import copy

import jax
import numpy as np
import pytest
import torch
from reference import assert_close, healthy
from torch import nn
from transformers import DacConfig, DacModel

from audioldm2_jax.checkpoints import single
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.codecs.dac import DAC
from audioldm2_jax.presets import DACConfig

SIZES = dict(
    encoder_hidden_size=4,
    decoder_hidden_size=16,
    downsampling_ratios=[2, 5],
    n_codebooks=3,
    codebook_size=32,
    codebook_dim=4,
    sampling_rate=22050,
)
CONFIG = DACConfig(22050, 4, 16, (2, 5), 16, 3, 32, 4)
WAVE = np.random.default_rng(0).standard_normal((2, 120, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def module():
    return sharp(healthy(DacModel(DacConfig(**SIZES))))


def sharp(module):
    """Snakes bend and codebooks differ in length, as of a trained codec."""
    with torch.no_grad():
        for name, p in module.named_parameters():
            if name.endswith("alpha"):
                p.copy_(torch.linspace(0.5, 1.5, p.numel()).reshape(p.shape))
            if name.endswith("codebook.weight"):
                p.mul_(torch.linspace(0.5, 2, len(p))[:, None])
    return module


@jax.jit
def run(params, wave):
    model = DAC(CONFIG)
    codes = model.apply({"params": params}, wave, method="encode")
    few = model.apply({"params": params}, wave, 2, method="encode")
    decoded = [model.apply({"params": params}, x, method="decode") for x in (codes, few)]
    return codes, few, *decoded


@torch.no_grad()
def check(params, encode, decode):
    """encode(wave [B, 1, samples], levels) -> codes [B, Q, T]; decode(codes) -> wave."""
    codes, few, whole, coarse = run(params, WAVE)
    theirs = encode(torch.tensor(WAVE).swapaxes(1, 2), 3)
    np.testing.assert_array_equal(codes, theirs.swapaxes(1, 2))
    assert len(np.unique(theirs)) > 12
    np.testing.assert_array_equal(few, codes[..., :2])
    for ours, levels in ((whole, 3), (coarse, 2)):
        reference = decode(theirs[:, :levels])
        # The stride of 5 leaves out two samples of 120 = 10 * 12.
        assert ours.shape == (2, 120, 1) and reference.shape[-1] == 118
        assert_close(ours[:, :118, 0], reference.reshape(2, -1))
        assert not np.any(ours[:, 118:])


def test_transformers_folder(tmp_path, module):
    module.save_pretrained(tmp_path / "theirs")
    ours = single.load(tmp_path / "theirs")
    assert (ours.name, ours.config) == ("dac", CONFIG)
    check(
        ours.params,
        lambda wave, levels: module.encode(wave, levels).audio_codes,
        lambda codes: module.decode(audio_codes=codes).audio_values,
    )
    single.save(ours, tmp_path / "ours")
    back = DacModel.from_pretrained(tmp_path / "ours").state_dict()
    for name, value in module.state_dict().items():
        torch.testing.assert_close(back[name], value, rtol=0, atol=0)


def test_transformers_folder_with_weight_norm(tmp_path, module):
    module.save_pretrained(tmp_path / "plain")
    trained = copy.deepcopy(module)
    trained.apply_weight_norm()
    trained.save_pretrained(tmp_path / "trained")
    plain, folded = (single.load(tmp_path / name).params for name in ("plain", "trained"))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), plain, folded)


class Snake(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, width, 1))

    def forward(self, x):
        return x + torch.sin(self.alpha * x) ** 2 / (self.alpha + 1e-9)


class Unit(nn.Module):
    def __init__(self, width, dilation):
        super().__init__()
        self.block = nn.Sequential(
            Snake(width),
            nn.Conv1d(width, width, 7, dilation=dilation, padding=3 * dilation),
            Snake(width),
            nn.Conv1d(width, width, 1),
        )

    def forward(self, x):
        return x + self.block(x)


class Block(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.block = nn.Sequential(*layers)

    def forward(self, x):
        return self.block(x)


class Authors(nn.Module):
    """Descript's names around the layers above; the quantiser is transformers'."""

    def __init__(self, quantizer):
        super().__init__()
        units = [[Unit(w, d) for d in (1, 3, 9)] for w in (4, 8, 8, 4)]
        self.encoder = Block(
            nn.Conv1d(1, 4, 7, padding=3),
            Block(*units[0], Snake(4), nn.Conv1d(4, 8, 4, 2, 1)),
            Block(*units[1], Snake(8), nn.Conv1d(8, 16, 10, 5, 3)),
            Snake(16),
            nn.Conv1d(16, 16, 3, padding=1),
        )
        self.decoder = nn.Module()
        self.decoder.model = nn.Sequential(
            nn.Conv1d(16, 16, 7, padding=3),
            Block(Snake(16), nn.ConvTranspose1d(16, 8, 10, 5, 3), *units[2]),
            Block(Snake(8), nn.ConvTranspose1d(8, 4, 4, 2, 1), *units[3]),
            Snake(4),
            nn.Conv1d(4, 1, 7, padding=3),
            nn.Tanh(),
        )
        self.quantizer = quantizer


@pytest.mark.filterwarnings("ignore")
def test_authors_file(tmp_path):
    network = Authors(DacModel(DacConfig(**SIZES)).quantizer)
    convolutions = [m for m in network.modules() if hasattr(m, "kernel_size")]
    for layer in convolutions:
        torch.nn.utils.weight_norm(layer)
    network = sharp(healthy(network))
    kwargs = {"sample_rate": 22050, "encoder_rates": [2, 5]}
    content = {"state_dict": network.state_dict(), "metadata": {"kwargs": kwargs}}
    torch.save(content, tmp_path / "weights.pth")
    ours = single.load(tmp_path / "weights.pth")
    assert (ours.name, ours.config) == ("dac", CONFIG)
    check(
        ours.params,
        lambda wave, levels: network.quantizer(network.encoder(wave), levels)[1],
        lambda codes: network.decoder.model(network.quantizer.from_codes(codes)[0]),
    )
    torch.save(network.state_dict(), tmp_path / "bare.pth")
    with pytest.raises(InputError, match="bare.pth: metadata.kwargs.sample_rate is missing"):
        single.load(tmp_path / "bare.pth")


@pytest.mark.parametrize(
    "entry, value, message",
    [
        ("downsampling_ratios", [2, 0], "downsampling_ratios"),
        ("downsampling_ratios", [64, 64, 64], "frames of 262144 samples"),
        ("upsampling_ratios", [2, 5], r"upsampling_ratios is \[2, 5\]; downsampling_ratios"),
        ("decoder_hidden_size", 18, "no multiple of 4"),
        ("codebook_dim", 16, "codebook_dim 16 is not below"),
        ("n_codebooks", 1000, "n_codebooks is 1000"),
        ("sampling_rate", "16000", "sampling_rate is '16000'"),
    ],
)
def test_impossible_configurations(entry, value, message):
    from audioldm2_jax.checkpoints.parts import PARTS, PartFiles

    with pytest.raises(InputError, match=message):
        PARTS["dac"].read(PartFiles(dict(SIZES) | {entry: value}))
