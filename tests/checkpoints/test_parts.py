"""Every part's table and configuration: its own inverse, and complete at the published sizes."""

import json
import shutil

import jax
import numpy as np
import pytest
import torch

from audioldm2_jax import files, presets, tree
from audioldm2_jax.checkpoints import download
from audioldm2_jax.checkpoints.convert import from_params, to_params
from audioldm2_jax.checkpoints.init import random_params
from audioldm2_jax.checkpoints.parts import PARTS, PartFiles, parts_of
from audioldm2_jax.checkpoints.tokenizer_files import read_tokenizer
from audioldm2_jax.errors import InputError

AUTHORS, DIFFUSERS = (presets.CONVENTIONS[name] for name in ("authors", "diffusers"))

# A preset that has the part, and the part.
TINY_PARTS = [
    *(("tiny", name) for name in parts_of(presets.models.tiny())),
    ("tiny-speech", "phonemes"),
    ("tiny-speech", "projection"),
    ("tiny-speech", "unet"),
    ("tiny-audioldm", "clap"),
    ("tiny-audioldm", "unet"),
    ("tiny-48k", "unet"),
    ("tiny-48k", "vae"),
    ("tiny-48k", "vocoder"),
]


@pytest.mark.parametrize("preset, name", TINY_PARTS)
def test_conversion_is_its_own_inverse(preset, name):
    config = getattr(presets.PRESETS[preset](), name)
    params = random_params(name, config)
    table, like = PARTS[name].table(config), PARTS[name].shapes(config)
    back = to_params(from_params(params, table, config), table, like)
    assert jax.tree.structure(back) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, back, params)


@pytest.mark.slow
@pytest.mark.parametrize(
    "preset, name, millions",
    [
        ("base", "unet", 346.94),
        ("large", "unet", 718.01),
        ("base", "clap", 193.9),
        ("base", "t5", 341.2),
        ("base", "gpt2", 124.4),
        ("base", "projection", 1.18),
        ("base", "vae", 55.38),
        ("base", "vocoder", 55.26),
        ("speech", "unet", 261.93),
        ("audioldm-t5", "unet", 265.53),
        ("audioldm-48k", "unet", 262.70),
        ("audioldm-48k", "vocoder", 190.3),
        ("audioldm-s", "unet", 185.036552),
        ("audioldm-m", "unet", 415.954568),
        ("audioldm-l", "unet", 739.13908),
    ],
)
def test_published_sizes(preset, name, millions):
    config = getattr(presets.PRESETS[preset](), name)
    assert tree.count(PARTS[name].shapes(config)) / 1e6 == pytest.approx(millions, rel=4e-3)


def reference_module(name, model):
    """The reference class of a part from the configuration we write, without memory."""
    import diffusers
    import transformers

    written = PARTS[name].write(getattr(model, name))
    content, kind = written.content, written.kind
    with torch.device("meta"):
        if name in ("unet", "vae", "projection"):
            return getattr(diffusers, kind).from_config(content)
        kinds = {"clap": "ClapConfig", "t5": "T5Config", "gpt2": "GPT2Config"}
        kinds |= {"vocoder": "SpeechT5HifiGanConfig", "phonemes": "VitsConfig"}
        return getattr(transformers, kind)(getattr(transformers, kinds[name])(**content))


FULL_PARTS = [
    *(("base", name) for name in parts_of(presets.ModelConfig())),
    *((preset, "unet") for preset in ("large", "speech", "audioldm-t5", "audioldm-48k")),
    *((preset, "unet") for preset in ("audioldm-s", "audioldm-m", "audioldm-l", "musicldm")),
    ("speech", "phonemes"),
    ("speech", "projection"),
    ("audioldm-48k", "vae"),
    ("audioldm-48k", "vocoder"),
    ("musicldm", "clap"),
]


@pytest.mark.slow
@pytest.mark.parametrize("preset, name", FULL_PARTS)
def test_every_key_of_the_full_size_has_its_place(preset, name):
    """The tables name what the reference class of full size holds, key by key, shape by shape."""
    model = presets.PRESETS[preset]()
    config, part = getattr(model, name), PARTS[name]
    module = reference_module(name, model)
    expected = {key: tuple(p.shape) for key, p in module.state_dict().items()}
    for tied in ("lm_head.weight", "encoder.embed_tokens.weight"):
        expected.pop(tied, None)
    if name == "phonemes":
        # The rest of VITS, which AudioLDM 2 does not read.
        unread = ("text_encoder.project.", "flow.", "decoder.", "duration_", "posterior_")
        expected = {k: v for k, v in expected.items() if not k.startswith(unread)}
    params = jax.tree.map(lambda s: np.broadcast_to(np.float32(0), s.shape), part.shapes(config))
    ours = from_params(params, part.table(config), config)
    assert {key: value.shape for key, value in ours.items()} == expected


def test_transformers_defaults_have_not_moved():
    """Nested hub configurations hold only what differed from transformers 4.32's defaults."""
    audio = {"depths": [2, 2, 12, 2], "hidden_size": 1024, "patch_embeds_hidden_size": 128}
    front_end = {"frequency_min": 50, "truncation": "rand_trunc"}
    files = PartFiles(
        {"audio_config": audio, "text_config": {}},
        kind="ClapModel",
        beside={"feature_extractor/preprocessor_config.json": front_end},
    )
    assert PARTS["clap"].read(files) == presets.models.audioldm2_base().clap
    assert PARTS["gpt2"].read(PartFiles({})) == presets.models.audioldm2_base().gpt2


def test_published_unet_configuration():
    published = json.loads(
        '{"attention_head_dim": 8, "num_attention_heads": null, "cross_attention_dim":'
        " [[null, 768, 1024], [null, 768, 1024], [null, 768, 1024], [null, 768, 1024]],"
        ' "block_out_channels": [128, 256, 384, 640], "in_channels": 8, "out_channels": 8,'
        ' "sample_size": 256, "layers_per_block": 2, "transformer_layers_per_block": 1,'
        ' "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D",'
        ' "CrossAttnDownBlock2D"], "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D",'
        ' "CrossAttnUpBlock2D", "UpBlock2D"], "flip_sin_to_cos": true, "freq_shift": 0}'
    )
    part, files = PARTS["unet"], PartFiles(published, kind="AudioLDM2UNet2DConditionModel")
    written = part.read(files)
    assert written.heads == (8, 8, 8, 8) == part.interpret(written, files, DIFFUSERS).heads
    assert part.interpret(written, files, AUTHORS) == presets.models.audioldm2_base().unet


AUDIOLDM = {
    "attention_head_dim": 8,
    "class_embed_type": "simple_projection",
    "class_embeddings_concat": True,
    "projection_class_embeddings_input_dim": 512,
    "in_channels": 8,
    "out_channels": 8,
    "sample_size": 128,
    "down_block_types": ["DownBlock2D", *["CrossAttnDownBlock2D"] * 3],
    "up_block_types": [*["CrossAttnUpBlock2D"] * 3, "UpBlock2D"],
    "flip_sin_to_cos": True,
    "freq_shift": 0,
}


@pytest.mark.parametrize(
    "preset, base", [("audioldm-s", 128), ("audioldm-m", 192), ("audioldm-l", 256)]
)
def test_published_audioldm_configuration(preset, base):
    """Heads as trained: of 32 channels, of 64 in L; diffusers reads 8 heads everywhere."""
    widths = [base * m for m in (1, 2, 3, 5)]
    content = AUDIOLDM | {"block_out_channels": widths, "cross_attention_dim": widths}
    expected = presets.PRESETS[preset]().unet
    part, files = PARTS["unet"], PartFiles(content, kind="UNet2DConditionModel")
    read = part.interpret(part.read(files), files, AUTHORS)
    assert read.heads == {"audioldm-m": (6, 12, 18, 30)}.get(preset, (4, 8, 12, 20))
    assert (read.channels, read.contexts, read.film) == (
        expected.channels,
        expected.contexts,
        expected.film,
    )
    assert read.heads == expected.heads
    assert part.interpret(part.read(files), files, DIFFUSERS).heads == (8, 8, 8, 8)


def test_speech_rolls_out_512_vectors_whatever_the_file_says(tmp_path):
    """Published language_model/config.json keep 8, or nothing."""
    from audioldm2_jax.checkpoints import hub
    from audioldm2_jax.data.untrained import write_random

    write_random(tmp_path / "speech", "tiny-speech")
    path = tmp_path / "speech" / "language_model" / "config.json"
    content = json.loads(path.read_text())
    for tokens, expected in ((8, 512), (None, 512), (12, 12)):
        path.write_text(json.dumps(content | {"max_new_tokens": tokens}))
        assert hub.read_config(tmp_path / "speech", AUTHORS).gpt2.tokens == expected


@pytest.mark.parametrize("length", ["abc", -5, 0, 1.5, [1], True])
def test_lengths_of_tokenizers_that_are_none(tmp_path, length):
    shutil.copytree(download.bundled()["nano"] / "tokenizer", tmp_path / "tokenizer")
    path = tmp_path / "tokenizer" / "tokenizer_config.json"
    config = files.read_json(path)
    path.write_text(json.dumps(config | {"model_max_length": length}))
    with pytest.raises(InputError, match="tokenizer"):
        read_tokenizer(tmp_path / "tokenizer")
    del config["model_max_length"]
    path.write_text(json.dumps(config))
    tokenizer = read_tokenizer(tmp_path / "tokenizer")
    limit = tokenizer.model_max_length
    assert tokenizer(["rain"], truncation=True, max_length=limit).input_ids
