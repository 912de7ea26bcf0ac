"""`audioldm2-jax convert`: each source format, and every way in which a file can be wrong."""

import argparse
import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from transformers import ClapModel

sys.path.insert(0, str(Path(__file__).parent.parent / "checkpoints"))
import test_authors as authors

from audioldm2_jax.checkpoints import hub, registry, single
from audioldm2_jax.checkpoints.convert import from_params
from audioldm2_jax.checkpoints.init import random_params
from audioldm2_jax.checkpoints.parts import PARTS
from audioldm2_jax.cli.main import main
from audioldm2_jax.data.untrained import write_random
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import VGGishConfig

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("convert") / "tiny"
    write_random(folder, "tiny")
    return folder


@pytest.fixture(scope="module")
def tensors():
    """The smallest of the authors' models."""
    return authors.tensors_of("audioldm-s")


def convert(*arguments):
    return main(["convert", *map(str, arguments)])


def refused(capsys, target, *arguments):
    """Exit code 2, one line, nothing written; returns the line."""
    before = sorted(target.parent.iterdir())
    assert convert(*arguments) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("error: ")
    assert sorted(target.parent.iterdir()) == before
    return line


@pytest.mark.slow
@pytest.mark.parametrize("suffix", (".pth", ".ckpt", ".pt", ".bin"))
def test_authors_files(tensors, tiny, tmp_path, capsys, suffix):
    """With a wrapper or without; the result generates sound."""
    content = tensors if suffix == ".bin" else {"state_dict": tensors, "global_step": 3}
    torch.save(content, tmp_path / f"model{suffix}")
    assert convert(tmp_path / f"model{suffix}", tmp_path / "hub", "--tokenizers", tiny) == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == str(tmp_path / "hub")
    assert "holds clap unet vae vocoder" in captured.err and "generate -t TEXT" in captured.err
    index = json.loads((tmp_path / "hub" / "model_index.json").read_text())
    assert index["_class_name"] == "AudioLDMPipeline"
    if suffix == ".pth":
        sound = ["-dur", 0.3, "--steps", 1, "-q", "-s", tmp_path / "out", "-t", "a dog"]
        for model in (tmp_path / "hub", tmp_path / "model.pth"):
            extra = ["--tokenizers", tiny] if model.is_file() else []
            command = ["generate", *sound, "--model_name", model, *extra]
            assert main([str(word) for word in command]) == 0
        first, second = capsys.readouterr().out.split()
        assert Path(first).read_bytes() == Path(second).read_bytes()


def test_safetensors_with_the_authors_names(tensors, tiny, tmp_path):
    state = {name: value.numpy() for name, value in tensors.items()}
    save_file(state, tmp_path / "model.safetensors")
    assert convert(tmp_path / "model.safetensors", tmp_path / "hub", "--tokenizers", tiny) == 0


def test_raw_and_averaged_weights(tensors, tiny, tmp_path):
    torch.save({"state_dict": tensors}, tmp_path / "a.ckpt")
    results = {}
    for choice in ("auto", "raw", "ema"):
        target = tmp_path / choice
        assert convert(tmp_path / "a.ckpt", target, "--weights", choice, "--tokenizers", tiny) == 0
        config = hub.read_config(target, hub.convention_named("authors"))
        results[choice] = np.asarray(
            hub.load_part(target, "unet", config.unet)["conv_in"]["kernel"]
        )
    np.testing.assert_array_equal(results["auto"], results["ema"])
    assert np.abs(results["raw"] - results["ema"]).max() > 0.1


def test_a_file_without_the_average(tensors, tiny, tmp_path, capsys):
    state = {k: v for k, v in tensors.items() if not k.startswith("model_ema.")}
    torch.save({"state_dict": state}, tmp_path / "a.ckpt")
    common = (tmp_path / "a.ckpt", tmp_path / "hub", "--tokenizers", tiny)
    assert "holds no moving average" in refused(capsys, common[1], *common, "--weights", "ema")
    assert convert(*common) == 0


def test_other_training_state(tensors, tiny, tmp_path, capsys):
    """Schedules, losses, optimisers, options and scores beside the model are passed over."""
    extra = {
        "betas": torch.zeros(10),
        "logvar": torch.zeros(10),
        "first_stage_model.loss.x": torch.zeros(2),
    }
    content = {
        "state_dict": tensors | extra,
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}}],
        "args": argparse.Namespace(lr=1e-4, output_dir="x"),
        "best": np.float64(0.5),
    }
    torch.save(content, tmp_path / "a.ckpt")
    assert convert(tmp_path / "a.ckpt", tmp_path / "hub", "--tokenizers", tiny) == 0
    # What nobody knows is named.
    content["state_dict"] = content["state_dict"] | {"another.model.weight": torch.zeros(2)}
    torch.save(content, tmp_path / "b.ckpt")
    capsys.readouterr()
    assert convert(tmp_path / "b.ckpt", tmp_path / "hub2", "--tokenizers", tiny) == 0
    assert "1 tensors belong to no known part (another.model.weight" in capsys.readouterr().err


def test_hub_layout_to_hub_layout(tiny, tmp_path):
    assert convert(tiny, tmp_path / "copy", "-q") == 0
    assert hub.load(tmp_path / "copy").config == hub.load(tiny).config


def test_official_names(tiny, tmp_path, monkeypatch):
    """SRC may be a name of the official command, as for generate and in Python."""
    monkeypatch.setitem(registry.OFFICIAL_NAMES, "audioldm2-full", str(tiny))
    assert convert("audioldm2-full", tmp_path / "again") == 0
    authors = hub.convention_named("authors")
    assert hub.read_config(tmp_path / "again", authors) == hub.read_config(tiny, authors)


def test_transformers_clap(tiny, tmp_path):
    """A folder as ClapModel and its processor save it; .bin too."""
    source = tmp_path / "clap"
    hub_config = hub.read_config(tiny, hub.convention_named("authors"))
    shutil.copytree(tiny / "text_encoder", source)
    shutil.copy(tiny / "feature_extractor" / "preprocessor_config.json", source)
    shutil.copytree(tiny / "tokenizer", source, dirs_exist_ok=True)
    assert convert(source, tmp_path / "copy") == 0
    again = single.load(tmp_path / "copy")
    assert (again.name, again.config) == ("clap", hub_config.clap)
    assert (
        again.tokenizer("a dog").input_ids
        == hub.read_tokenizer(tiny / "tokenizer")("a dog").input_ids
    )
    ClapModel.from_pretrained(tmp_path / "copy")


def test_audiomae(tmp_path):
    """AudioMAE's own file: encoder and decoder, options, optimiser."""
    prefix = "cond_stage_models.0.cond_stage_models.2.audiomae.model."
    state = authors.tensors_of("audioldm2")
    inner = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    assert any(name.startswith("decoder_blocks.") for name in inner)
    content = {"model": inner, "optimizer": {}, "epoch": 32, "args": argparse.Namespace(mask=0.8)}
    torch.save(content, tmp_path / "pretrained.pth")
    assert convert(tmp_path / "pretrained.pth", tmp_path / "mae") == 0
    model = single.load(tmp_path / "mae")
    assert model.name == "audiomae" and model.config.frames == 1024
    assert json.loads((tmp_path / "mae" / "config.json").read_text())["architecture"]


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/this-file-must-not-exist",)


def test_files_of_backbones(tmp_path, capsys):
    """torchvggish's file and back; options of other files are refused."""
    config = VGGishConfig(stages=((4,), (4,)), hidden=(6,), width=5)
    params = random_params("vggish", config)
    state = from_params(params, PARTS["vggish"].table(config))
    torch.save({k: torch.tensor(np.array(v)) for k, v in state.items()}, tmp_path / "vggish.pth")
    assert convert(tmp_path / "vggish.pth", tmp_path / "vggish") == 0
    again = single.load(tmp_path / "vggish")
    assert (again.name, again.config) == ("vggish", config)
    jax.tree.map(np.testing.assert_array_equal, again.params, params)
    line = refused(
        capsys, tmp_path / "x", tmp_path / "vggish.pth", tmp_path / "x", "--weights", "ema"
    )
    assert "is of one network that has none" in line


def test_hostile_files(tensors, tmp_path, capsys):
    torch.save({"state_dict": tensors, "callbacks": Evil()}, tmp_path / "a.ckpt")
    line = refused(capsys, tmp_path / "hub", tmp_path / "a.ckpt", tmp_path / "hub")
    assert "refused, it asks for posix.system" in line
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Evil()))
    line = refused(capsys, tmp_path / "hub", tmp_path / "b.pth", tmp_path / "hub")
    assert "not a complete torch archive" in line
    assert not os.path.exists("/tmp/this-file-must-not-exist")


@pytest.mark.parametrize("keep", [0, 1000, 0.5, -100])
def test_truncated_files(tensors, tmp_path, capsys, keep):
    path = tmp_path / "a.ckpt"
    torch.save({"state_dict": tensors}, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    line = refused(capsys, tmp_path / "hub", path, tmp_path / "hub")
    assert "not a complete torch archive" in line and str(path) in line


def without(prefix):
    return lambda state: {k: v for k, v in state.items() if not k.startswith(prefix)}


def changed(name, value):
    return lambda state: state | {name: value}


CLAP = "cond_stage_model.model."
UNET = "model.diffusion_model."


@pytest.mark.parametrize(
    "change, message",
    [
        (without("first_stage_model.vocoder."), "but no vocoder with it"),
        (without(CLAP), "a U-Net of the family audioldm, but no clap"),
        (without("scale_factor"), "tensor scale_factor is missing"),
        (without(f"{UNET}out.2.weight"), "tensor out.2.weight is missing"),
        (without(f"{UNET}middle_block.0.in_layers.2.b"), "block.0.in_layers.2.bias is missing"),
        (changed(f"{UNET}more.weight", torch.zeros(3)), "unexpected tensor more.weight"),
        (changed(f"{UNET}out.0.weight", torch.zeros(3)), r"has shape \(3,\), expected \(32,\)"),
        (changed(f"{CLAP}text_branch.x", torch.zeros(3)), "unexpected tensor text_branch.x"),
        (lambda state: {"weight": torch.zeros(3)}, "none of the known models is in it"),
        (lambda state: {}, "none of the known models is in it"),
    ],
)  # fmt: skip
def test_wrong_contents_are_named(tensors, tiny, tmp_path, capsys, change, message):
    import re

    torch.save({"state_dict": change(tensors)}, tmp_path / "a.ckpt")
    arguments = (tmp_path / "a.ckpt", tmp_path / "hub", "--tokenizers", tiny, "--weights", "raw")
    line = refused(capsys, tmp_path / "hub", *arguments)
    assert re.search(message, line), line
    assert "a.ckpt" in line


def test_targets_and_sources(tensors, tiny, tmp_path, capsys):
    torch.save({"state_dict": tensors}, tmp_path / "a.ckpt")
    full = tmp_path / "full"
    full.mkdir()
    (full / "x").touch()
    assert "not empty" in refused(capsys, full, tmp_path / "a.ckpt", full)
    target = tmp_path / "hub"
    assert "no such folder or file" in refused(capsys, target, tmp_path / "no.pth", target)
    assert "no model_index.json" in refused(capsys, target, full, target)
    line = refused(capsys, target, tmp_path / "a.ckpt", target, "--tokenizers", full)
    assert "holds no folder tokenizer" in line
    assert "one set of weights" in refused(capsys, target, tiny, target, "--weights", "ema")


def test_without_tokenizers(tensors, tiny, tmp_path, capsys):
    """Offline and none given: the weights are converted, and it is said what is missing."""
    torch.save({"state_dict": tensors}, tmp_path / "a.ckpt")
    target = tmp_path / "hub"
    assert convert(tmp_path / "a.ckpt", target) == 0
    err = capsys.readouterr().err
    assert "note: written without tokenizer" in err and "--tokenizers FOLDER" in err
    sound = ["generate", "-t", "a dog", "-dur", "0.3", "--steps", "1", "-q"]
    command = [*sound, "--model_name", str(target), "-s", str(tmp_path / "out")]
    assert main(command) == 2
    assert "tokenizer: missing; the checkpoint is incomplete" in capsys.readouterr().err
    shutil.copytree(tiny / "tokenizer", target / "tokenizer")
    assert main(command) == 0
    # A file that is to make sound needs them at once.
    command = [*sound, "--model_name", str(tmp_path / "a.ckpt"), "-s", str(tmp_path / "out2")]
    assert main(command) == 2
    assert "the file holds no tokenizer" in capsys.readouterr().err


@pytest.mark.slow
def test_half_the_size(tiny, tmp_path):
    """bf16 files hold the rounded values, and load; a single model's too."""
    assert convert(tiny, tmp_path / "half", "--dtype", "bf16", "-q") == 0
    whole, half = hub.load(tiny), hub.load(tmp_path / "half")
    for a, b in zip(jax.tree.leaves(whole.params), jax.tree.leaves(half.params)):
        np.testing.assert_array_equal(a.astype(jnp.bfloat16).astype(jnp.float32), b)
    one, other = (
        f / "unet" / "diffusion_pytorch_model.safetensors" for f in (tiny, tmp_path / "half")
    )
    assert other.stat().st_size < 0.6 * one.stat().st_size
    single.save(single.Single("vae", whole.config.vae, whole.params["vae"]), tmp_path / "vae")
    assert convert(tmp_path / "vae", tmp_path / "half-vae", "--dtype", "bf16", "-q") == 0
    assert single.load(tmp_path / "half-vae").config == whole.config.vae


def test_paths_behind_a_tilde(tiny, tmp_path, monkeypatch):
    """Source, target and tokenizers; a user that does not exist is one line."""
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(tiny, tmp_path / "model")
    assert convert("~/model", "~/copy", "-q") == 0
    assert hub.load("~/copy").config == hub.load(tiny).config
    assert convert("~nobody-of-this-name/x", "~/other", "-q") == 2
    assert convert("~/model", "~nobody-of-this-name/x", "-q") == 2


def test_variants(tiny, tmp_path, capsys):
    source = shutil.copytree(tiny, tmp_path / "model")
    plain = source / "vae" / "diffusion_pytorch_model.safetensors"
    shutil.copy(plain, plain.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert convert(source, tmp_path / "copy", "-q", "--variant", "fp16") == 0
    target = tmp_path / "other"
    assert "its variants: 'fp16'" in refused(capsys, target, source, target, "--variant", "bf16")


def test_options_that_would_do_nothing(tensors, tiny, tmp_path, capsys):
    torch.save({"state_dict": tensors}, tmp_path / "a.ckpt")
    target = tmp_path / "out"
    of_folders = (("--variant", "fp16"), ("--revision", "main"), ("--convention", "diffusers"))
    for words in of_folders:
        line = refused(capsys, target, tmp_path / "a.ckpt", target, *words)
        assert " ".join(words) in line
    for words in (("--tokenizers", tiny), ("--weights", "raw"), ("--revision", "main")):
        assert words[0] in refused(capsys, target, tiny, target, *words)


@pytest.mark.parametrize("size", [0, 2000, 20_000, 200_000])
def test_a_full_disk(tiny, tmp_path, capsys, size):
    """Wherever writing fails, one line names the place and nothing stays."""
    target = tmp_path / "out"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        line = refused(capsys, target, tiny, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(target) in line and "cannot write" in line


def test_a_tokenizer_on_a_full_disk(tiny, tmp_path):
    tokenizer = hub.read_tokenizer(tiny / "tokenizer")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(InputError, match="cannot write"):
            hub.write_tokenizer(tokenizer, tmp_path / "tokenizer")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_a_killed_run_leaves_does_not_block(tiny, tmp_path):
    """A killed run leaves a hidden folder beside the target, which the next one replaces."""
    script = f"""
import os, signal, sys
from audioldm2_jax.checkpoints import weights
from audioldm2_jax.cli.main import main
write, count = weights.write, [0]
def killed(*arguments, **others):
    write(*arguments, **others)
    count[0] += 1
    if count[0] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
weights.write = killed
main(["convert", {str(tiny)!r}, {str(tmp_path / "out")!r}, "-q"])
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT)
    assert ended.returncode == -9
    left = [path.name for path in tmp_path.iterdir()]
    assert len(left) == 1 and left[0].startswith(".")
    assert convert(tiny, tmp_path / "out", "-q") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_files_have_the_permissions_of_the_user_s_mask(tiny, tmp_path):
    before = os.umask(0o027)
    try:
        assert convert(tiny, tmp_path / "out", "-q") == 0
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "out").rglob("*.*")}
    assert modes <= {0o640, 0o750}, modes
