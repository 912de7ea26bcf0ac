"""Configurations of every part with entries of wrong types and sizes: one line, and at once."""

import json
import resource
import shutil
import time

import numpy as np
import pytest

from audioldm2_jax.checkpoints import hub, single
from audioldm2_jax.checkpoints.init import random_params
from audioldm2_jax.data.untrained import write_random
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import PRESETS, AudioMAEConfig, PANNsConfig

AUTHORS = hub.convention_named("authors")
VALUES = [
    None, True, "", "x\x1b[31m", "512", -1, 0, 2.5, float("nan"), float("inf"), 1 << 40, 10**30, [],
    [[]], [None], ["a", 3], [0], [-1, 2], {}, {"a": 1},
]  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("types")
    for preset in ("tiny", "tiny-speech", "tiny-audioldm"):
        write_random(root / preset, preset)
    return root


def configurations(folder):
    """Every JSON file that is read for the model's form."""
    paths = [*sorted(folder.glob("*/config.json")), folder / "model_index.json"]
    return [*paths, *folder.glob("feature_extractor/*.json")]


def answer(folder, seconds=3.0):
    """None for a configuration that can be read, and the line that refuses it otherwise."""
    begin = time.monotonic()
    try:
        hub.read_config(folder, AUTHORS)
        line = None
    except InputError as error:
        line = str(error)
        assert "\n" not in line and "\x1b" not in line and len(line) < 1500
    assert time.monotonic() - begin < seconds
    return line


@pytest.mark.parametrize("preset", ["tiny", "tiny-speech", "tiny-audioldm"])
def test_every_entry_with_every_value(folders, tmp_path, preset):
    """Of each of a file's entries, inner ones too."""
    refusals, rng = 0, np.random.default_rng(0)
    folder = shutil.copytree(folders / preset, tmp_path / preset)
    # The first time imports transformers.
    assert answer(folder, 60.0) is None
    for path in configurations(folder):
        original = path.read_text()
        for keys in paths_of(json.loads(original)):
            for i in rng.permutation(len(VALUES))[:6]:
                content = json.loads(original)
                place = content
                for key in keys[:-1]:
                    place = place[key]
                place[keys[-1]] = VALUES[i]
                path.write_text(json.dumps(content))
                line = answer(folder)
                refusals += line is not None
        path.write_text(original)
    assert answer(folder) is None and refusals > 150


def paths_of(content, before=()):
    for key, value in content.items():
        yield (*before, key)
        if isinstance(value, dict):
            yield from paths_of(value, (*before, key))


@pytest.mark.parametrize(
    "part, name, value, message",
    [
        ("text_encoder_2", "d_model", "512", "d_model is '512'; a whole number from 1 to"),
        ("text_encoder_2", "num_layers", 10**9, "num_layers is 1000000000"),
        ("text_encoder", "projection_dim", 0, "projection_dim is 0"),
        ("language_model", "n_embd", True, "n_embd is True"),
        ("language_model", "n_head", 3, "n_head is 3; a divisor of n_embd"),
        ("language_model", "layer_norm_epsilon", "x", "layer_norm_epsilon is 'x'; a number"),
        ("unet", "norm_num_groups", 7, "norm_num_groups is 7; a divisor of the widths"),
        ("unet", "block_out_channels", [32, -64], "block_out_channels is .*; a whole number"),
        ("vae", "scaling_factor", -1, "scaling_factor is -1; a number from"),
        ("vocoder", "upsample_rates", [0, 2], "upsample_rates is"),
        ("vocoder", "upsample_initial_channel", 7, "a multiple of"),
        ("projection_model", "text_encoder_dim", None, "text_encoder_dim is None"),
    ],
)
def test_the_entry_is_named(folders, part, name, value, message):
    folder = folders / "tiny"
    path = folder / part / "config.json"
    original = path.read_text()
    path.write_text(json.dumps(json.loads(original) | {name: value}))
    try:
        with pytest.raises(InputError, match=message) as caught:
            hub.read_config(folder, AUTHORS)
        assert str(path) in str(caught.value)
    finally:
        path.write_text(original)


@pytest.mark.parametrize(
    "part, changes",
    [
        ("text_encoder_2", {"d_model": 32768, "d_ff": 65536, "vocab_size": 1 << 20}),
        ("language_model", {"n_embd": 32768, "n_inner": None, "n_head": 2, "vocab_size": 1 << 21}),
        ("unet", {"block_out_channels": [32768, 32768]}),
        ("text_encoder", {"projection_dim": 32768}),
    ],
)
def test_models_of_terabytes_are_not_allocated(folders, tmp_path, part, changes):
    """Shapes are compared with the file's before anything is made of them."""
    folder = shutil.copytree(folders / "tiny", tmp_path / "tiny")
    path = folder / part / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="has shape|is missing|do not fit|is not in the config"):
        hub.load(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024


@pytest.mark.parametrize("name", ["vae", "vocoder", "clap", "audiomae", "panns"])
def test_single_models(tmp_path, name):
    """Folders of one model, whatever stands in their config.json."""
    preset = PRESETS["tiny"]()
    own = {"audiomae": AudioMAEConfig(frames=32, bins=16, width=32, depth=1, heads=2, hidden=32)}
    own["panns"] = PANNsConfig(channels=(4, 4), width=8, classes=3, labels=("a", "b", "c"))
    config = own.get(name) or getattr(preset, name)
    single.save(single.Single(name, config, random_params(name, config)), tmp_path / name)
    path = tmp_path / name / "config.json"
    original, rng = path.read_text(), np.random.default_rng(0)
    keys = list(paths_of(json.loads(original)))
    for _ in range(40):
        content = json.loads(original)
        place, names = content, keys[rng.integers(len(keys))]
        for key in names[:-1]:
            place = place[key]
        place[names[-1]] = VALUES[rng.integers(len(VALUES))]
        path.write_text(json.dumps(content))
        try:
            single.load(tmp_path / name)
        except InputError as error:
            assert "\n" not in str(error)
    path.write_text(original)
    single.load(tmp_path / name)


def test_tokenizers_run_no_code(folders, tmp_path, monkeypatch):
    """Neither a folder's own code nor damaged files of it reach further than one line."""
    monkeypatch.chdir(tmp_path)
    source = folders / "tiny" / "tokenizer"
    code = "raise SystemExit('executed')\nclass T: pass\n"
    for name, content in {
        "tokenizer_config.json": {"auto_map": {"AutoTokenizer": ["code.T", "code.T"]}},
        "tokenizer.json": {"model": {"type": "BPE", "vocab": {"a": -1}, "merges": [3]}},
        "special_tokens_map.json": [],
    }.items():
        folder = tmp_path / name / "tokenizer"
        shutil.copytree(source, folder)
        (folder / "code.py").write_text(code)
        (folder / name).write_text(json.dumps(content))
        try:
            hub.read_tokenizer(folder)
        except InputError as error:
            assert "\n" not in str(error) and "executed'" not in str(error)
    folder = tmp_path / "deep"
    shutil.copytree(source, folder)
    (folder / "tokenizer.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="nested too deeply"):
        hub.read_tokenizer(folder)
