"""SoundStream agrees with torch layers written here from the paper, whole and in steps."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from reference import assert_close, healthy, state
from torch import nn

from audioldm2_jax.checkpoints import single
from audioldm2_jax.checkpoints.convert import to_params
from audioldm2_jax.checkpoints.parts import PARTS, soundstream
from audioldm2_jax.checkpoints.parts.base import PartFiles
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.codecs.soundstream import SoundStream
from audioldm2_jax.presets import SoundStreamConfig

TINY = SoundStreamConfig(
    strides=(2, 5), filters=4, decoder_filters=6, width=8, levels=3, codebook=16
)


class Causal(nn.Conv1d):
    """Every output depends on inputs up to the end of its own stride."""

    def forward(self, x):
        span = self.dilation[0] * (self.kernel_size[0] - 1) + 1
        return super().forward(nn.functional.pad(x, (span - self.stride[0], 0)))


class CausalTranspose(nn.ConvTranspose1d):
    """An input's outputs begin where its own stride begins; what exceeds the clip is cut."""

    def forward(self, x):
        return super().forward(x)[..., : x.shape[-1] * self.stride[0]]


class Unit(nn.Module):
    """A residual unit: a dilated convolution of 7 taps, then one of 1."""

    def __init__(self, width, dilation):
        super().__init__()
        self.conv_in = Causal(width, width, 7, dilation=dilation)
        self.conv_out = Causal(width, width, 1)

    def forward(self, x):
        elu = nn.functional.elu
        return x + self.conv_out(elu(self.conv_in(elu(x))))


def units(width):
    return nn.ModuleList([Unit(width, dilation) for dilation in (1, 3, 9)])


class TorchSoundStream(nn.Module):
    """C channels, doubled by each of the encoder's strides and halved by the decoder's."""

    def __init__(self, c):
        super().__init__()
        widths = [c.filters * 2**i for i in range(len(c.strides) + 1)]
        up = [c.decoder_filters * 2**i for i in range(len(c.strides), -1, -1)]
        self.encoder, self.decoder, self.quantizer = nn.Module(), nn.Module(), nn.Module()
        e, d = self.encoder, self.decoder
        e.conv_in, e.conv_out = Causal(c.channels, widths[0], 7), Causal(widths[-1], c.width, 3)
        e.blocks = nn.ModuleList(map(units, widths[:-1]))
        e.downsample = nn.ModuleList(
            Causal(a, b, 2 * s, s) for a, b, s in zip(widths, widths[1:], c.strides)
        )
        d.conv_in, d.conv_out = Causal(c.width, up[0], 7), Causal(up[-1], c.channels, 7)
        d.blocks = nn.ModuleList(map(units, up[1:]))
        d.upsample = nn.ModuleList(
            CausalTranspose(a, b, 2 * s, s) for a, b, s in zip(up, up[1:], c.strides[::-1])
        )
        self.quantizer.levels = nn.ModuleList(
            nn.Embedding(c.codebook, c.width) for _ in range(c.levels)
        )

    def encode(self, wave):
        x, codes = self.encoder.conv_in(wave), []
        for block, down in zip(self.encoder.blocks, self.encoder.downsample):
            for unit in block:
                x = unit(x)
            x = down(nn.functional.elu(x))
        residual = self.encoder.conv_out(nn.functional.elu(x)).swapaxes(1, 2)
        for level in self.quantizer.levels:
            distances = (residual[:, :, None] - level.weight).square().sum(-1)
            codes.append(distances.argmin(-1))
            residual = residual - level(codes[-1])
        return torch.stack(codes, -1)

    def decode(self, codes):
        latents = sum(level(codes[..., i]) for i, level in enumerate(self.quantizer.levels))
        x = self.decoder.conv_in(latents.swapaxes(1, 2))
        for block, up in zip(self.decoder.blocks, self.decoder.upsample):
            x = up(nn.functional.elu(x))
            for unit in block:
                x = unit(x)
        return self.decoder.conv_out(nn.functional.elu(x))


@pytest.fixture(scope="module")
def models():
    """(torch's model, our parameters)."""
    module = healthy(TorchSoundStream(TINY))
    for i, level in enumerate(module.quantizer.levels):
        level.weight.data = torch.randn(16, 8, generator=torch.Generator().manual_seed(i)) / (i + 1)
    params = to_params(state(module), soundstream.TABLE, PARTS["soundstream"].shapes(TINY))
    return module, params


@pytest.fixture(scope="module")
def wave():
    return np.random.default_rng(0).standard_normal((2, 120, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def whole(models, wave):
    """Our codes and sound of the whole clip."""

    @jax.jit
    def run(params):
        model = SoundStream(TINY).bind({"params": params})
        codes = model.encode(wave)
        return codes, model.decode(codes)

    return run(models[1])


@torch.no_grad()
def test_parity(models, wave, whole):
    module, (codes, sound) = models[0], whole
    theirs = module.encode(torch.tensor(wave).swapaxes(1, 2))
    assert len(np.unique(theirs)) > 8
    np.testing.assert_array_equal(codes, theirs)
    assert_close(sound, module.decode(theirs).swapaxes(1, 2))


def test_steps_give_what_the_whole_clip_gives(models, wave, whole):
    @jax.jit
    def run(params):
        model = SoundStream(TINY).bind({"params": params})
        codes, sound, start = [], [], 0
        coding, sounding = model.encoder_state(2), model.decoder_state(2)
        for frames in (1, 3, 8):
            part = wave[:, start * 10 : (start + frames) * 10]
            code, coding = model.encode_step(part, coding)
            piece, sounding = model.decode_step(code, sounding)
            codes.append(code)
            sound.append(piece)
            start += frames
        return jnp.concatenate(codes, 1), jnp.concatenate(sound, 1)

    codes, sound = run(models[1])
    np.testing.assert_array_equal(codes, whole[0])
    assert_close(sound, whole[1], 1e-5)


def test_folder(models, tmp_path):
    single.save(single.Single("soundstream", TINY, models[1]), tmp_path / "folder")
    again = single.load(tmp_path / "folder")
    assert (again.name, again.config) == ("soundstream", TINY)
    jax.tree.map(np.testing.assert_array_equal, again.params, models[1])


def test_the_papers_model():
    config = SoundStreamConfig()
    content = soundstream.write_config(config).content
    assert soundstream.read_config(PartFiles(json.loads(json.dumps(content)))) == config
    assert config.sample_rate / config.hop == 50
    assert (config.levels, config.codebook) == (12, 1024)
    leaves = jax.tree.leaves(PARTS["soundstream"].shapes(config))
    assert 8e6 < sum(leaf.size for leaf in leaves if leaf.shape != (1024, 512)) < 13e6


@pytest.mark.parametrize(
    "entry, value",
    [
        ("strides", [64, 64, 64]),
        ("strides", []),
        ("filters", 1 << 14),
        ("decoder_filters", 0),
        ("codebook", 1 << 17),
        ("dilation_growth", 64),
        ("levels", 1.5),
        ("sample_rate", "16k"),
    ],
)
def test_entries_out_of_bounds(entry, value):
    content = soundstream.write_config(SoundStreamConfig()).content | {entry: value}
    with pytest.raises(InputError, match=f"config.json: {entry}"):
        soundstream.read_config(PartFiles(content))
