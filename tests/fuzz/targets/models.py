"""SavedStates: hub-layout folders, weight files, LoRA files, the authors' files, single parts."""

from __future__ import annotations

import dataclasses
import functools
import json
import warnings
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from tests.checkpoints import bundles
from tests.fuzz import mutate
from tests.fuzz.law import command
from tests.fuzz.targets import Case, Target, anything

AUTHORS = Path(__file__).parents[2] / "checkpoints" / "authors"
PRESETS = ("tiny", "tiny-audioldm", "tiny-speech")


def build_models(folder: Path) -> None:
    from audioldm2_jax.data.untrained import write_random

    for preset in PRESETS:
        write_random(folder / preset, preset)


def damage_model(rng, folder: Path) -> str:
    """One preset's folder."""
    chosen = folder / rng.choice(PRESETS)
    (folder / "chosen").symlink_to(chosen.name)
    return f"{chosen.name}: {mutate.damage_tree(rng, chosen)}"


def damage_json(rng, folder: Path) -> str:
    """Values of one or two JSON files of one preset, without the tokenizers' long lists."""
    chosen, notes = folder / rng.choice(PRESETS), []
    (folder / "chosen").symlink_to(chosen.name)
    paths = sorted(p for p in chosen.rglob("*.json") if p.name != "tokenizer.json")
    for path in rng.sample(paths, rng.choice((1, 1, 2))):
        content, note = mutate.damaged_json(rng, json.loads(path.read_text()))
        mutate.replace(path, json.dumps(content).encode())
        notes.append(f"{path.relative_to(folder)}: {note}")
    return "; ".join(notes)


def chosen(case: Case) -> Path:
    path = case.input / "chosen"
    return path if path.exists() else case.input / case.rng.choice(PRESETS)


def read_config(case: Case):
    from audioldm2_jax.checkpoints import hub
    from audioldm2_jax.pipelines import memory

    convention = hub.convention_named(case.rng.choice(("authors", "diffusers")))
    memory.model_shapes(hub.read_config(chosen(case), convention), jnp.float32)


def load_folder(case: Case):
    from audioldm2_jax.checkpoints import hub

    hub.load(chosen(case))


def convert_folder(case: Case):
    command("convert", "-q", chosen(case), case.output / "x")


def generate(case: Case):
    folder = chosen(case)
    speech = "speech" in str(folder.resolve())
    command(
        *("generate", "-t", "a dog", "--model_name", folder, "-dur", "0.5", "-q"),
        *("--steps", "1", "-s", case.output),
        *(("--transcription", "hello you") if speech else ()),
    )


def arrays() -> dict:
    rng = np.random.default_rng(0)
    shapes = {"a.weight": (3, 4), "a.bias": (4,), "b": (), "c.half": (2, 2, 2), "d": (0, 3)}
    tensors = {k: rng.standard_normal(v).astype(np.float32) for k, v in shapes.items()}
    return tensors | {"c.half": tensors["c.half"].astype(np.float16), "n": np.arange(5)}


def build_weights(folder: Path) -> None:
    import torch
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {k: torch.tensor(v) for k, v in arrays().items()}
    state["bf"] = torch.ones(3, dtype=torch.bfloat16)
    save_file(arrays(), folder / "model.safetensors")
    torch.save(state, folder / "new.bin")
    torch.save(state, folder / "old.pt", _use_new_zipfile_serialization=False)
    bundles.write_bundle(folder / "model.index", {k: np.asarray(v) for k, v in arrays().items()})
    optimizer = {"state": {0: {"step": 3}}, "param_groups": [{"params": [0]}]}
    whole = {"state_dict": state, "epoch": 7, "optimizer_states": [optimizer]}
    torch.save(whole, folder / "training.ckpt")
    save_file({"a": np.ones(2, np.float32)}, folder / "part-1.safetensors")
    save_file({"b": np.ones(2, np.float32)}, folder / "part-2.safetensors")
    index = {"metadata": {"total_size": 16}, "weight_map": {}}
    index["weight_map"] = {"a": "part-1.safetensors", "b": "part-2.safetensors"}
    (folder / "parts.safetensors.index.json").write_text(json.dumps(index))


def read_weights(case: Case):
    from audioldm2_jax.checkpoints import weights
    from audioldm2_jax.errors import InputError

    refused = []
    # The data of TensorFlow's bundle is read with its index.
    for path in sorted(p for p in case.input.iterdir() if ".data-" not in p.name):
        try:
            tensors = weights.read(path)
            for name in tensors:
                np.asarray(tensors[name]) + 0
                tensors.shape(name)
        except InputError as error:
            refused.append(error)
    # The shards are read with their index too.
    if len(refused) > 1:
        raise refused[0]


def build_lora(folder: Path) -> None:
    from audioldm2_jax.checkpoints import weights

    folder.mkdir(parents=True, exist_ok=True)
    path = "unet/down_0/attention_0/block_0/attention/query/kernel"
    rng = np.random.default_rng(0)
    pieces = {f"{path}/a": rng.standard_normal((32, 2)), f"{path}/b": np.ones((2, 32))}
    pieces = {k: v.astype(np.float32) for k, v in pieces.items()}
    weights.write(folder / "lora.safetensors", pieces)


@functools.cache
def _kernels() -> dict:
    from audioldm2_jax import tree

    path = "unet/down_0/attention_0/block_0/attention/query/kernel"
    return tree.unflatten({path: jnp.zeros((32, 32)), "unet/out/bias": jnp.zeros(3)})


def read_lora(case: Case):
    from audioldm2_jax.checkpoints import lora

    for path in sorted(case.input.iterdir()):
        lora.merge(_kernels(), lora.load(path), 0.5)


def build_authors(folder: Path) -> None:
    """Small files of the authors' layout, drawn as the tests of them draw."""
    import sys

    import torch

    sys.path.insert(0, str(AUTHORS.parents[1] / "oracles"))
    try:
        from weights import weight
    finally:
        sys.path.pop(0)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("audioldm-s", "audioldm2"):
        record = json.loads((AUTHORS / f"{name}.json").read_text())["tensors"]
        state = {k: torch.tensor(weight(k, tuple(s))) for k, s in record.items()}
        torch.save({"state_dict": state, "epoch": 7}, folder / f"{name}.ckpt")


def damage_authors(rng, folder: Path) -> str:
    """One file: its bytes and members, or the tensors that it holds."""
    import torch

    path = rng.choice(sorted(folder.iterdir()))
    for other in folder.iterdir():
        if other != path:
            other.unlink()
    if rng.random() < 0.4:
        data, note = mutate.damaged_zip(rng, path.read_bytes())
        mutate.replace(path, data)
        return f"{path.name}: {note}"
    content = torch.load(path, weights_only=True)
    state, notes = content["state_dict"], []
    for _ in range(rng.choice((1, 1, 3))):
        name = rng.choice(sorted(state))
        kind = rng.choice("drop rename shape shape nan type prefix".split())
        value = state[name]
        if kind == "drop":
            del state[name]
        elif kind == "rename":
            state[rng.choice(("x", name + ".x", name[:-1], "model.\x1b"))] = state.pop(name)
        elif kind == "shape":
            wide = value[None] if value.ndim == 0 else value
            changes = (value[None], value.flatten(), wide[:1], wide[..., :-1], wide[:0])
            state[name] = rng.choice(changes)
        elif kind == "nan":
            state[name] = value * float("nan")
        elif kind == "type":
            state[name] = rng.choice((value.to(torch.int64), value.bool(), "text", None, [value]))
        else:
            content["state_dict"] = state = {f"module.{k}": v for k, v in state.items()}
        notes.append(f"{kind} {name}")
    path.unlink()
    torch.save(content, path)
    return f"{path.name}: {'; '.join(notes)}"


def convert_authors(case: Case):
    choice = case.rng.choice(("auto", "raw", "ema"))
    for path in sorted(case.input.iterdir()):
        command(
            *("convert", "-q", path, case.output / f"{path.stem}-x", "--weights", choice),
            *("--tokenizers", case.template.parent / "models" / "tiny"),
        )


def build_singles(folder: Path) -> None:
    """A folder of each part that stands alone."""
    from audioldm2_jax.checkpoints import single
    from audioldm2_jax.checkpoints.init import random_params
    from audioldm2_jax.data.untrained import random_checkpoint
    from audioldm2_jax.presets import PRESETS as known
    from audioldm2_jax.presets import AudioMAEConfig

    mae = AudioMAEConfig(frames=128, width=24, depth=1, heads=2, hidden=48)
    checkpoint = random_checkpoint(dataclasses.replace(known["tiny"](), audiomae=mae))
    for name in ("clap", "vae", "vocoder", "audiomae"):
        tokenizer = checkpoint.tokenizers["tokenizer"] if name == "clap" else None
        params = checkpoint.params.get(name) or random_params(name, mae)
        settings = getattr(checkpoint.config, name)
        single.save(single.Single(name, settings, params, tokenizer), folder / name)


def convert_single(case: Case):
    from audioldm2_jax.errors import InputError

    refused = None
    for path in sorted(case.input.iterdir()):
        try:
            command("convert", "-q", path, case.output / path.name)
        except InputError as error:
            refused = error
            assert not (case.output / path.name).exists(), path
    if refused:
        raise refused


def damage_single(rng, folder: Path) -> str:
    import shutil

    chosen = rng.choice(sorted(folder.iterdir()))
    for other in folder.iterdir():
        if other != chosen:
            shutil.rmtree(other)
    return f"{chosen.name}: {mutate.damage_tree(rng, chosen)}"


TARGETS = [
    Target("models", build_models, convert_folder, damage_model, anything, share=2),
    Target("configs", build_models, read_config, damage_json, share=2, least=20),
    Target("folders", build_models, load_folder, damage_model, share=2),
    Target("pipelines", build_models, generate, damage_json, limit=60, share=3, least=1),
    Target("weights", build_weights, read_weights, limit=5, share=2, least=20),
    Target("lora", build_lora, read_lora, limit=5, least=20),
    Target(
        "authors",
        build_authors,
        convert_authors,
        damage_authors,
        anything,
        share=2,
        needs=("models",),
    ),
    Target("singles", build_singles, convert_single, damage_single, anything, share=2),
]
warnings.filterwarnings("ignore", message=".*TypedStorage.*")
