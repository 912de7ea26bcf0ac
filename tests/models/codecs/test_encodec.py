"""EnCodec agrees with transformers' on random weights: codes exactly, waveforms within 1e-4.

No tie occurs in these clips: a code may differ where two distances agree to 1e-5.
"""

import dataclasses
import json

import jax
import numpy as np
import pytest
import torch
from reference import assert_close, healthy
from transformers import EncodecConfig, EncodecModel

from audioldm2_jax.checkpoints import single
from audioldm2_jax.checkpoints.parts import encodec
from audioldm2_jax.checkpoints.parts.base import PartFiles
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.codecs.encodec import Encodec
from audioldm2_jax.presets import ENCODEC

TINY = {"filters": 4, "width": 8, "codebook": 16, "strides": (2, 5), "bandwidths": (480.0,)}


def tiny(name, **changes):
    """A published configuration, small: 2 strides, 4 filters, 16 codes, 8 of 10 levels or so."""
    base = dataclasses.replace(ENCODEC[name], **TINY, **changes)
    rate = -(-base.sample_rate // base.hop)
    return dataclasses.replace(base, bandwidths=(rate * 4 / 500, rate * 4 * 4 / 1000))


CONFIGS = {
    "causal": tiny("encodec_24khz"),
    "symmetric": tiny("encodec_32khz", units=2, padding="zero"),
    "chunks": tiny("encodec_48khz", chunk_seconds=0.005, overlap=0.05),
}


@pytest.fixture(scope="module", params=CONFIGS)
def models(request, tmp_path_factory):
    """(transformers' model, ours as `single.load` reads its folder)."""
    config = CONFIGS[request.param]
    module = healthy(EncodecModel(EncodecConfig(**encodec.write_config(config).content)))
    generator = torch.Generator().manual_seed(1)
    for i, layer in enumerate(module.quantizer.layers):
        embed = layer.codebook.embed
        embed.copy_(torch.randn(embed.shape, generator=generator) / (i + 1))
    folder = tmp_path_factory.mktemp("encodec")
    module.save_pretrained(folder)
    model = single.load(folder)
    assert (model.name, model.config) == ("encodec", config)
    return module, model


@torch.no_grad()
def theirs(module, wave, levels):
    """(codes [B, T, Q], scales [B, N] or None, wave) of transformers, without a last short chunk.

    It codes what follows the last whole chunk, which is part of the one before.
    """
    config, sound = module.config, torch.tensor(wave).swapaxes(1, 2)
    bandwidth = config.target_bandwidths[0 if levels else -1]
    codes, scales, _ = module.encode(sound, bandwidth=bandwidth, return_dict=False)
    if config.chunk_length is not None:
        codes, scales = codes[:-1], scales[:-1]
    decoded = module.decode(codes, scales)[0].swapaxes(1, 2)
    flat = torch.cat(list(codes), -1).swapaxes(1, 2)
    return flat, None if scales[0] is None else torch.cat(scales, 1), decoded


def test_parity(models):
    module, model = models
    config, network = model.config, Encodec(model.config)
    levels = 2 if config.causal else None
    samples = 143
    if config.chunk:
        samples = 3 * config.chunk_stride + config.chunk
    wave = np.random.default_rng(2).standard_normal((2, samples, config.channels), np.float32)
    codes, scales, decoded = theirs(module, wave, levels)

    @jax.jit
    def both(params, wave):
        variables = {"params": params}
        codes = network.apply(variables, wave, levels, method="encode")
        scales = network.apply(variables, wave, method="scales")
        return codes, scales, network.apply(variables, codes, scales, method="decode")

    ours = both(model.params, wave)
    np.testing.assert_array_equal(ours[0], codes)
    if scales is not None:
        assert_close(ours[1], scales)
    assert_close(ours[2], decoded)


def test_folder_that_we_write(models, tmp_path):
    """transformers reads it, and so do we; the weights are the same."""
    module, model = models
    single.save(model, tmp_path / "folder")
    state, loaded = module.state_dict(), EncodecModel.from_pretrained(tmp_path / "folder")
    for name, value in loaded.state_dict().items():
        if not name.endswith(("original0", "original1", "embed_avg", "cluster_size")):
            torch.testing.assert_close(value, state[name], msg=name)
    sound = torch.randn(1, model.config.channels, model.config.chunk or 100)
    with torch.no_grad():
        assert_close(loaded.encoder(sound), module.encoder(sound))
    again = single.load(tmp_path / "folder")
    assert again.config == model.config
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-6), again.params, model.params)


def authors_name(name):
    """transformers' name of a tensor, as the authors' file has it."""
    name = name.replace(".layers.", ".model.", 1)
    if name.startswith("quantizer"):
        return name.replace(".model.", ".vq.layers.").replace(".codebook.", "._codebook.")
    kind = (
        "convtr"
        if ".conv." in name and name.split(".")[2] in UPSAMPLING.get(name[:7], ())
        else "conv"
    )
    name = name.replace(".parametrizations.weight.original0", ".weight_g")
    name = name.replace(".parametrizations.weight.original1", ".weight_v")
    return name.replace(".conv.", f".{kind}.{kind}.").replace(".norm.", f".{kind}.norm.")


UPSAMPLING = {"decoder": ("3", "6")}


@pytest.mark.parametrize("name", ["encodec_24khz", "encodec_48khz"])
def test_authors_file(name, tmp_path):
    config = dataclasses.replace(ENCODEC[name], filters=4, width=8, codebook=1024, strides=(8, 40))
    module = healthy(EncodecModel(EncodecConfig(**encodec.write_config(config).content)))
    module.save_pretrained(tmp_path / "folder")
    path = tmp_path / "encodec.th"
    torch.save({authors_name(n): v for n, v in module.state_dict().items()}, path)
    folder, file = single.load(tmp_path / "folder"), single.load(path)
    assert (file.name, file.config) == ("encodec", config)
    jax.tree.map(np.testing.assert_array_equal, file.params, folder.params)


def test_published_configurations_are_read_as_they_are_written():
    for config in ENCODEC.values():
        files = encodec.write_config(config)
        theirs = EncodecConfig(**files.content)
        assert encodec.read_config(PartFiles(json.loads(json.dumps(files.content)))) == config
        assert (theirs.num_quantizers, theirs.hop_length) == (config.levels, config.hop)
        assert (theirs.chunk_length, theirs.chunk_stride) == (config.chunk, config.chunk_stride)
    assert [c.levels for c in ENCODEC.values()] == [32, 4, 16]


@pytest.mark.parametrize(
    "entry, value",
    [
        ("codebook_dim", 7),
        ("codebook_size", 1000),
        ("target_bandwidths", [3.0, 1.5]),
        ("target_bandwidths", ["fast"]),
        ("target_bandwidths", [None]),
        ("target_bandwidths", [1e6]),
        ("target_bandwidths", []),
        ("upsampling_ratios", [64, 64, 64]),
        ("compress", 5),
        ("norm_type", "batch_norm"),
        ("pad_mode", "circular"),
        ("chunk_length_s", 0.001),
        ("trim_right_ratio", 2),
        ("num_residual_layers", 10**9),
    ],
)
def test_entries_out_of_bounds(entry, value):
    content = encodec.write_config(ENCODEC["encodec_24khz"]).content | {entry: value}
    with pytest.raises(InputError, match=f"config.json: {entry}"):
        encodec.read_config(PartFiles(content))
