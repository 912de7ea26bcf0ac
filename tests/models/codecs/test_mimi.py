"""Mimi agrees with transformers' MimiModel, and reads both layouts of its folder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from reference import assert_close, healthy
from transformers import MimiConfig as HubConfig
from transformers import MimiModel

from audioldm2_jax.checkpoints import single
from audioldm2_jax.checkpoints.parts import PARTS, PartFiles
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.codecs.mimi import Mimi, attend_window
from audioldm2_jax.models.kernels.dispatch import attend
from audioldm2_jax.presets import MimiConfig

SIZES = dict(
    sampling_rate=8000,
    hidden_size=16,
    num_filters=4,
    upsampling_ratios=[3, 2],
    codebook_size=32,
    codebook_dim=8,
    vector_quantization_hidden_dimension=8,
    num_quantizers=4,
    upsample_groups=16,
    num_hidden_layers=2,
    intermediate_size=24,
    num_attention_heads=2,
    num_key_value_heads=2,
    sliding_window=7,
)
CONFIG = MimiConfig(
    sample_rate=8000,
    width=16,
    filters=4,
    strides=(2, 3),
    codebook=32,
    codebook_width=8,
    levels=4,
    depth=2,
    hidden=24,
    heads=2,
    head_width=8,
    window=7,
)
WAVE = np.random.default_rng(0).standard_normal((2, 20 * CONFIG.hop, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def module():
    module, generator = healthy(MimiModel(HubConfig(**SIZES))), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, p in module.named_parameters():
            if name.endswith("layer_scale.scale"):
                p.copy_(torch.linspace(0.5, 1.0, len(p)))
        for name, b in module.named_buffers():
            if name.endswith("embed_sum"):
                b.copy_(torch.randn(b.shape, generator=generator))
            if name.endswith("cluster_usage"):
                b.copy_(torch.linspace(0.0, 2, len(b)))
                b[0] = 1e-9
    return module


@jax.jit
def run(params, wave):
    model = Mimi(CONFIG)
    codes = model.apply({"params": params}, wave, method="encode")
    few = model.apply({"params": params}, wave, 2, method="encode")
    decoded = [model.apply({"params": params}, codes[..., :n], method="decode") for n in (4, 3, 1)]
    return codes, few, *decoded


@torch.no_grad()
def test_transformers_folder(tmp_path, module):
    module.save_pretrained(tmp_path / "theirs")
    ours = single.load(tmp_path / "theirs")
    assert (ours.name, ours.config) == ("mimi", CONFIG)
    codes, few, *decoded = run(ours.params, WAVE)
    theirs = module.encode(torch.tensor(WAVE).swapaxes(1, 2)).audio_codes
    assert theirs.shape == (2, 4, 20) and len(np.unique(theirs)) > 12
    np.testing.assert_array_equal(codes, theirs.swapaxes(1, 2))
    np.testing.assert_array_equal(few, codes[..., :2])
    for wave, levels in zip(decoded, (4, 3, 1)):
        reference = module.decode(theirs[:, :levels]).audio_values
        assert wave.shape == WAVE.shape
        assert_close(wave, reference.swapaxes(1, 2))
    single.save(ours, tmp_path / "ours")
    back = MimiModel.from_pretrained(tmp_path / "ours").eval()
    again = back.encode(torch.tensor(WAVE).swapaxes(1, 2)).audio_codes
    np.testing.assert_array_equal(again, theirs)


def test_layout_of_the_modules(tmp_path, module):
    """Not that of the hub, to which transformers renames on saving."""
    module.save_pretrained(tmp_path)
    flat = single.load(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    state = module.state_dict()
    assert "encoder.encoder_seanet.layers.0.conv.weight" in state
    torch.save(state, tmp_path / "pytorch_model.bin")
    jax.tree.map(np.testing.assert_array_equal, single.load(tmp_path).params, flat.params)
    state.pop("quantizer.acoustic_residual_vector_quantizer.layers.1.codebook.cluster_usage")
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"layers.1.codebook.cluster_usage is missing"):
        single.load(tmp_path)


def test_attention_to_a_window():
    query, key, value = np.random.default_rng(0).standard_normal((3, 2, 23, 2, 4), np.float32)
    age = np.arange(23)[:, None] - np.arange(23)
    for window in (5, 23):
        expected = attend(query, key, value, mask=jnp.array((age >= 0) & (age < window)))
        assert_close(attend_window(query, key, value, window), expected, 1e-5)


@pytest.mark.parametrize(
    "entry, value, message",
    [
        ("use_causal_conv", False, "use_causal_conv is False"),
        ("upsample_groups", 4, "upsample_groups is 4; hidden_size, 16,"),
        ("codebook_dim", 16, "codebook_dim is 16"),
        ("num_semantic_quantizers", 4, "num_semantic_quantizers is 4"),
        ("frame_rate", 500.0, "frame_rate is 500.0; 1333.33 Hz, or a whole fraction"),
        ("rope_parameters", {"rope_type": "yarn"}, "rope_type is 'yarn'"),
        ("head_dim", 3, "head_dim is 3"),
    ],
)
def test_impossible_configurations(entry, value, message):
    with pytest.raises(InputError, match=message):
        PARTS["mimi"].read(PartFiles(dict(SIZES) | {entry: value}))


def test_published_configuration():
    """The entries of kyutai/mimi that differ from the class's names or defaults."""
    content = {"frame_rate": 12.5, "rope_theta": 10000.0, "upsampling_ratios": [8, 6, 5, 4]}
    config = PARTS["mimi"].read(PartFiles(content))
    assert config == MimiConfig() and config.hop == 1920
    assert PARTS["mimi"].read(PARTS["mimi"].write(config)) == config
