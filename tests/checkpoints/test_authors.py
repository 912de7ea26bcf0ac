"""The authors' files: every part computes what the authors' code did with the same weights.

The records hold names, shapes and outputs (see tests/oracles/authors.py); weights are drawn again
from the names. The files are written by torch, as theirs are.
"""

import dataclasses
import functools
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from audioldm2_jax.checkpoints import hub, single, weights
from audioldm2_jax.checkpoints.authors import assemble
from audioldm2_jax.checkpoints.authors.source import open_file
from audioldm2_jax.checkpoints.parts import PARTS
from audioldm2_jax.features.clap import clap_images
from audioldm2_jax.models.audiomae import AudioMAE
from audioldm2_jax.models.clap import CLAP
from audioldm2_jax.models.gpt2 import GPT2, roll_out
from audioldm2_jax.models.hifigan import HiFiGAN
from audioldm2_jax.models.loa_projection import LOAProjection, sequence_positions
from audioldm2_jax.models.phoneme_encoder import PhonemeEncoder
from audioldm2_jax.models.unet import UNet
from audioldm2_jax.models.vae import VAE

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "oracles"))
from weights import draw, sample, weight  # noqa: E402

MODELS = ("audioldm2", "audioldm2-speech", "audioldm-48k", "audioldm-t5", "audioldm-s")
CLAPS = ("clap", "clap-fused")


@functools.cache
def record(name):
    return json.loads((HERE / "authors" / f"{name}.json").read_text())


def tensors_of(name) -> dict:
    """The file's tensors; weights of LAION's files are named behind `module.`."""
    return {
        key: torch.tensor(weight(key.removeprefix("module."), tuple(shape)))
        for key, shape in record(name)["tensors"].items()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("authors")


def write(folder, name) -> Path:
    """As training writes it: the optimiser's state beside the weights."""
    path = folder / f"{name}.ckpt"
    if not path.exists():
        state = tensors_of(name)
        optimizer = {"state": {0: {"step": 3, "exp_avg": torch.ones(4)}}, "param_groups": [{}]}
        content = {"state_dict": state, "epoch": 7, "optimizer_states": [optimizer]}
        torch.save(content, path)
    return path


class Loaded:
    """One file's parts, loaded when asked for."""

    def __init__(self, path, choice="raw"):
        self.source = open_file(path, choice)
        self.configs = assemble.read_configs(self.source)

    def apply(self, part, model, *arguments, method=None):
        config = self.configs[part]
        params = assemble.load_part(self.source, part, config)
        run = jax.jit(lambda p, *a: model(config).apply({"params": p}, *a, method=method))
        return run(params, *arguments)


@pytest.fixture(scope="module")
def loaded(folder):
    return functools.cache(lambda name: Loaded(write(folder, name)))


def compare(ours, name, key, tolerance=1e-4):
    expected = record(name)["outputs"][key]
    assert list(ours.shape) == expected["shape"]
    theirs, values = np.array(expected["values"]), np.array(sample(ours))
    assert theirs.std() > 1e-2, "the reference's scale proves nothing"
    assert np.abs(values - theirs).max() / theirs.std() < tolerance


def image(x):
    """[B, C, T, F] -> [B, T, F, C] and back again by `planes`."""
    return jnp.transpose(jnp.asarray(x), (0, 2, 3, 1))


def planes(x):
    return np.transpose(np.asarray(x), (0, 3, 1, 2))


TEXT_MASK = np.arange(9) < np.array([[5], [9]])


@pytest.mark.slow
@pytest.mark.parametrize("name", (*MODELS, "audioldm2-large", "audioldm-l"))
def test_unet(loaded, name):
    model = loaded(name)
    config = model.configs["unet"]
    bins = 32 if name == "audioldm-48k" else 16
    latents = image(draw("latents", (2, config.in_channels, 8, bins)))
    text, loa = draw("text", (2, 9, 48)), draw("loa", (2, 6, 768))
    streams, masks, film = {
        "audioldm2": ((loa, text), (None, TEXT_MASK), None),
        "audioldm2-large": ((loa, text), (None, TEXT_MASK), None),
        "audioldm2-speech": ((loa,), (None, None), None),
        "audioldm-t5": ((text,), (TEXT_MASK, None), None),
    }.get(name, ((), (None, None), draw("film", (2, 512))))
    arguments = (latents, np.array([961, 961]), streams, masks, film)
    compare(planes(model.apply("unet", UNet, *arguments)), name, "unet", 3e-4)


# The 16 kHz autoencoder and vocoder are the same in all.
@pytest.mark.parametrize("name", ("audioldm2", "audioldm-48k", "audioldm-s"))
def test_autoencoder_and_vocoder(loaded, name):
    model = loaded(name)
    config, mels = model.configs["vae"], model.configs["vocoder"].mels
    shape = (2, config.latent_channels, 8, mels // config.factor)
    decoded = model.apply("vae", VAE, image(draw("latents", shape)), method="decode")
    compare(np.asarray(decoded)[:, None], name, "vae decode")
    mel = draw("mel", (1, 1, 8 * config.factor, mels))[:, 0]
    mean, _ = model.apply("vae", VAE, mel, method="encode")
    compare(planes(mean), name, "vae encode")
    mel = draw("mel", (1, mels, 12)).transpose(0, 2, 1)
    compare(np.asarray(model.apply("vocoder", HiFiGAN, mel))[:, None], name, "vocoder")


@pytest.mark.parametrize("name", ("audioldm2", "audioldm-s", *CLAPS))
def test_clap(loaded, name):
    model = loaded(name)
    ids = np.abs(draw("ids", (2, 12)) * 100).astype(int) % 290 + 4
    ids[0, 7:] = 1
    ours = model.apply("clap", CLAP, ids, ids != 1, method="text_features")
    compare(np.asarray(ours), name, "clap text")
    config = model.configs["clap"]
    if config.audio.fusion:
        mel, longer = 20 * draw("mel", (2, 4, 1001, 64)) - 30, np.array([True, False])
    else:
        waves = 0.1 * draw("wave", (2, 480000))
        mel, longer = clap_images(np.stack(waves), config.mel)[0], None
    ours = model.apply("clap", CLAP, mel, longer, method="audio_features")
    compare(np.asarray(ours), name, "clap audio", 3e-4)


@pytest.mark.parametrize("name", ("audioldm2", "audioldm2-speech"))
def test_language_of_audio(loaded, name):
    model = loaded(name)
    if name == "audioldm2":
        text, mask, length = draw("text", (2, 9, 48)), TEXT_MASK, 9
    else:
        ids = np.abs(draw("phonemes", (2, 310)) * 60).astype(int) % 180 + 1
        ids[0, 20:], ids[1, 33:] = 0, 0
        mask, length = ids != 0, 310
        text = model.apply("phonemes", PhonemeEncoder, ids, mask)
        # Theirs adds the position table before the projection, ours inside it.
        table = draw_table(model)
        compare(np.asarray(text) + table, name, "phonemes")
    clap = draw("clap", (2, 1, 512))[:, 0]
    sequence, sequence_mask = model.apply("projection", LOAProjection, clap, text, mask)
    params = assemble.load_part(model.source, "gpt2", model.configs["gpt2"])
    positions = sequence_positions(length, [length, length])
    gpt2 = GPT2(model.configs["gpt2"])
    loa = jax.jit(lambda *a: roll_out(gpt2, params, *a, tokens=6))(
        sequence, sequence_mask, positions
    )
    compare(np.asarray(loa), name, "loa")


def draw_table(model):
    config = model.configs["projection"]
    return np.asarray(assemble.load_part(model.source, "projection", config)["positions"])


def test_audiomae(loaded):
    model = loaded("audioldm2")
    fbank = draw("fbank", (1, 1, 1024, 128))[:, 0]
    compare(np.asarray(model.apply("audiomae", AudioMAE, fbank)), "audioldm2", "audiomae")


@pytest.mark.parametrize("pool", ("token", "avg"))
def test_timm(tmp_path, pool):
    """timm's folder of the same model, wherever it keeps the final norm; and what we write."""
    from safetensors.numpy import save_file

    name = f"timm-{pool}"
    shapes = {key: tuple(shape) for key, shape in record(name)["tensors"].items()}
    save_file({k: weight(k, s) for k, s in shapes.items()}, tmp_path / "model.safetensors")
    size = {"img_size": [64, 32], "in_chans": 1, "patch_size": 16, "embed_dim": 48, "depth": 4}
    arguments = size | {"num_heads": 4, "mlp_ratio": 2.0, "num_classes": 0, "global_pool": pool}
    content = {"architecture": "vit_base_patch16_224", "model_args": arguments}
    (tmp_path / "config.json").write_text(json.dumps(content))
    model = single.load(tmp_path)
    fbank = draw("fbank", (2, 1, 64, 32))[:, 0]
    for averaged, key in ((1, "last"), (3, "mean of three")):
        config = dataclasses.replace(model.config, averaged=averaged)
        ours = AudioMAE(config).apply({"params": model.params}, fbank)
        compare(np.asarray(ours), name, key)
    single.save(model, tmp_path / "again")
    tensors = weights.read(tmp_path / "again" / "model.safetensors")
    if pool == "token":
        assert {key: tensors.shape(key) for key in tensors} == shapes
        model_args = json.loads((tmp_path / "again" / "config.json").read_text())["model_args"]
        assert model_args == arguments


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    """A hub-layout folder to take tokenizers from."""
    from audioldm2_jax.data.untrained import write_random

    folder = tmp_path_factory.mktemp("tokenizers") / "tiny"
    write_random(folder, "tiny")
    return str(folder)


@pytest.mark.parametrize("name", MODELS)
def test_conversion_to_the_hub_layout_and_back(folder, tmp_path, tokenizers, name):
    path = write(folder, name)
    first = assemble.load(open_file(path), tokenizers=tokenizers)
    hub.save(first, tmp_path / "hub")
    again = hub.load(tmp_path / "hub")
    assert again.config == first.config
    jax.tree.map(np.testing.assert_array_equal, first.params, again.params)
    assert set(again.tokenizers) == set(first.tokenizers)


@pytest.mark.slow
@pytest.mark.parametrize("name", CLAPS)
def test_clap_to_its_folder_and_back(folder, tmp_path, tokenizers, name):
    source = open_file(write(folder, name))
    first = assemble.load_single(source, tokenizers)
    single.save(first, tmp_path / "clap")
    again = single.load(tmp_path / "clap")
    assert (again.name, again.config) == ("clap", first.config)
    jax.tree.map(np.testing.assert_array_equal, first.params, again.params)
    # transformers reads the same folder and hears the same.
    from transformers import ClapModel

    theirs = ClapModel.from_pretrained(tmp_path / "clap").eval()
    mel, longer = 20 * draw("mel", (2, 4, 1001, 64)) - 30, torch.tensor([[True], [False]])
    mel = mel if first.config.audio.fusion else mel[:, :1]
    with torch.no_grad():
        features = theirs.get_audio_features(torch.tensor(mel), is_longer=longer).pooler_output
    mel = mel if first.config.audio.fusion else mel[:, 0]
    ours = CLAP(first.config).apply(
        {"params": first.params}, mel, np.array([True, False]), method="audio_features"
    )
    assert np.abs(np.asarray(ours) - features.numpy()).max() < 1e-5


@pytest.mark.parametrize("fusion", (False, True))
@pytest.mark.parametrize("processor", (False, True))
def test_clap_as_transformers_saves_it(tmp_path, fusion, processor):
    """The model, with or without its processor, in the current version's layout."""
    import reference
    from transformers import ClapFeatureExtractor, ClapProcessor

    from audioldm2_jax.data.untrained import random_checkpoint
    from audioldm2_jax.presets.models import tiny

    module = reference.clap(enable_fusion=fusion)
    module.save_pretrained(tmp_path)
    if processor:
        extractor = ClapFeatureExtractor(
            feature_size=16, truncation="fusion" if fusion else "rand_trunc"
        )
        tokenizer = random_checkpoint(tiny()).tokenizers["tokenizer"]
        ClapProcessor(extractor, tokenizer).save_pretrained(tmp_path)
    model = single.load(tmp_path)
    assert model.config.mel.fusion == fusion == model.config.audio.fusion
    assert (model.tokenizer is not None) == processor
    mel = draw("mel", (2, 4, 251, 16)) * 20 - 30
    with torch.no_grad():
        features = module.get_audio_features(
            torch.tensor(mel if fusion else mel[:, :1]), is_longer=torch.ones(2, 1)
        ).pooler_output
    ours = CLAP(model.config).apply(
        {"params": model.params},
        mel if fusion else mel[:, 0],
        np.ones(2, bool),
        method="audio_features",
    )
    assert np.abs(np.asarray(ours) - features.numpy()).max() < 1e-4


def test_raw_and_averaged_weights(folder, tmp_path):
    """`auto` is what the authors sample with: the average for AudioLDM, raw for AudioLDM 2."""

    def first(name, choice):
        source = open_file(write(folder, name), choice)
        return source.parts["unet"]["input_blocks.0.0.weight"]

    for name, default in (("audioldm-s", "ema"), ("audioldm2", "raw"), ("audioldm-48k", "raw")):
        raw, ema = (first(name, choice) for choice in ("raw", "ema"))
        assert np.abs(raw - ema).max() > 0.1
        np.testing.assert_array_equal(first(name, "auto"), {"raw": raw, "ema": ema}[default])
    expected = weight("model_ema.diffusion_modelinput_blocks00weight", raw.shape)
    np.testing.assert_array_equal(ema, expected)


def test_weight_norm_is_folded_in(tmp_path):
    """A HiFi-GAN file of training, weights split in size and direction, as torch folds it."""
    from torch.nn.utils import weight_norm

    layers = {"conv_pre": torch.nn.Conv1d(4, 8, 7), "ups.0": torch.nn.ConvTranspose1d(8, 4, 16)}
    state, expected = {}, {}
    for name, layer in layers.items():
        expected[f"{name}.weight"] = layer.weight.detach().numpy() * 1.5
        layer = weight_norm(layer)
        layer.weight_g.data.mul_(1.5)
        state |= {f"{name}.{key}": value for key, value in layer.state_dict().items()}
    torch.save({"generator": state, "steps": 10}, tmp_path / "g_00010000")
    path = (tmp_path / "g_00010000").rename(tmp_path / "g.pth")
    parts = open_file(path).parts
    for name, value in expected.items():
        np.testing.assert_allclose(parts["vocoder"][name], value, rtol=1e-5)
    np.testing.assert_array_equal(parts["vocoder"]["scale"], np.ones(4))


@pytest.mark.parametrize("name", ("vae", "vocoder"))
def test_parts_alone(folder, tmp_path, name):
    """An autoencoder or vocoder file becomes the folder of that part."""
    prefix = {"vae": "first_stage_model.", "vocoder": "first_stage_model.vocoder."}[name]
    state = tensors_of("audioldm2")
    inner = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    inner = {k: v for k, v in inner.items() if name == "vocoder" or "vocoder." not in k}
    torch.save({"state_dict": inner}, tmp_path / "part.ckpt")
    first = assemble.load_single(open_file(tmp_path / "part.ckpt"))
    single.save(first, tmp_path / name)
    again = single.load(tmp_path / name)
    assert (again.name, again.config) == (name, first.config)
    jax.tree.map(np.testing.assert_array_equal, first.params, again.params)
    assert PARTS[name].shapes(again.config)
