"""LoRA files of diffusers, PEFT and kohya, against products that torch computes by their names."""

import json
import math

import jax
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file

from audioldm2_jax import tree
from audioldm2_jax.checkpoints import hub, lora
from audioldm2_jax.checkpoints.convert import from_params
from audioldm2_jax.checkpoints.parts import PARTS
from audioldm2_jax.data.untrained import write_random
from audioldm2_jax.errors import InputError

STRENGTH = 0.7


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lora") / "tiny"
    write_random(folder, "tiny")
    return hub.load(folder)


def states(checkpoint, params) -> dict:
    """{part: state dict under the hub's names}."""
    return {
        name: from_params(params[name], PARTS[name].table(getattr(checkpoint.config, name)),
                          getattr(checkpoint.config, name))
        for name in ("unet", "gpt2")
    }  # fmt: skip


UNET = "down_blocks.1.attentions.0.transformer_blocks.0"
LAYERS = {
    "unet": [f"{UNET}.attn1.to_q", f"{UNET}.attn2.to_out.0", f"{UNET}.ff.net.0.proj",
             f"{UNET}.ff.net.2", "down_blocks.1.attentions.0.proj_in", "mid_block.resnets.0.conv1"],
    "gpt2": ["transformer.h.0.attn.c_attn", "transformer.h.0.mlp.c_proj"],
}  # fmt: skip
FOLDERS = {"unet": "unet", "gpt2": "language_model"}


def halves(weight: np.ndarray, gpt2: bool, rank=3):
    """Random A and B for a weight of torch, as PEFT shapes them."""
    outputs, inputs = weight.shape[:2][::-1] if gpt2 else weight.shape[:2]
    generator = torch.Generator().manual_seed(outputs * 1000 + inputs)
    taps, one = weight.shape[2:], (1,) * (weight.ndim - 2)
    a = torch.randn(rank, inputs, *taps, generator=generator)
    return a, torch.randn(outputs, rank, *one, generator=generator)


def product(a, b, gpt2):
    delta = torch.einsum("or,ri...->oi...", b.reshape(b.shape[:2]), a).numpy()
    return delta.T if gpt2 else delta


def layers_of(checkpoint):
    """(part, layer, A, B, the change of the weight) for each layer."""
    originals = states(checkpoint, checkpoint.params)
    for part, layers in LAYERS.items():
        for layer in layers:
            a, b = halves(originals[part][f"{layer}.weight"], part == "gpt2")
            yield part, layer, a, b, product(a, b, part == "gpt2")


def check(checkpoint, path, scale):
    """The merged weights against theirs; weights without a change stay."""
    merged = states(checkpoint, lora.merge(checkpoint.params, lora.load(path), STRENGTH))
    originals = states(checkpoint, checkpoint.params)
    changed = {}
    for part, layer, _, _, delta in layers_of(checkpoint):
        changed[part, f"{layer}.weight"] = STRENGTH * scale(part, layer) * delta
    for part, state in originals.items():
        for name, value in state.items():
            expected = value + changed.get((part, name), 0)
            np.testing.assert_allclose(merged[part][name], expected, atol=1e-5, err_msg=name)
    assert all(np.abs(value).max() > 1e-2 for value in changed.values())


NAMES = {
    "peft": "{0}.{1}.lora_{2}.weight",
    "adapter": "{0}.{1}.lora_{2}.default.weight",
    "older": "{0}.{1}.lora.{3}.weight",
    "kohya": "lora_{0}_{4}.lora_{3}.weight",
}


def tensor_name(form, part, layer, half):
    words = (FOLDERS[part], layer, half, {"A": "down", "B": "up"}[half], layer.replace(".", "_"))
    return NAMES[form].format(*words)


@pytest.mark.parametrize("alpha", [None, 6.0])
@pytest.mark.parametrize("form", NAMES)
def test_names(checkpoint, tmp_path, form, alpha):
    state = {}
    for part, layer, a, b, _ in layers_of(checkpoint):
        for half, value in (("A", a), ("B", b)):
            state[tensor_name(form, part, layer, half)] = value.contiguous()
        if alpha:
            name = tensor_name(form, part, layer, "A").replace(".lora_down.weight", ".alpha")
            name = f"{FOLDERS[part]}.{layer}.alpha" if form != "kohya" else name
            state[name] = torch.tensor(alpha)
    save_file(state, tmp_path / "x.safetensors")
    check(checkpoint, tmp_path / "x.safetensors", lambda *_: alpha / 3 if alpha else 1)
    torch.save(state, tmp_path / "x.bin")
    check(checkpoint, tmp_path / "x.bin", lambda *_: alpha / 3 if alpha else 1)


def test_attention_processors(checkpoint, tmp_path):
    """diffusers before PEFT: changes lay in the processors, to_out's without its number."""
    weight = states(checkpoint, checkpoint.params)["unet"]
    state, expected = {}, {}
    for name in ("to_q", "to_k", "to_v", "to_out"):
        layer = f"{UNET}.attn1.{name}" + (".0" if name == "to_out" else "")
        a, b = halves(weight[f"{layer}.weight"], False)
        for half, value in (("down", a), ("up", b)):
            state[f"unet.{UNET}.attn1.processor.{name}_lora.{half}.weight"] = value
        expected[f"{layer}.weight"] = product(a, b, False)
    save_file(state, tmp_path / "x.safetensors")
    merged = lora.merge(checkpoint.params, lora.load(tmp_path / "x.safetensors"))
    merged = states(checkpoint, merged)["unet"]
    for name, delta in expected.items():
        np.testing.assert_allclose(merged[name], weight[name] + delta, atol=1e-5)


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("place", ["folder", "file", "metadata"])
def test_settings_of_peft(checkpoint, tmp_path, place, rslora):
    """alpha, patterns of it and the root of the rank, beside the file or in its header."""
    settings = {"peft_type": "LORA", "r": 3, "lora_alpha": 6, "use_rslora": rslora}
    settings["alpha_pattern"] = {"attn1.to_q": 12, "attn.c_attn": 1.5}
    state, metadata = {}, {}
    for part, layer, a, b, _ in layers_of(checkpoint):
        for half, value in (("A", a), ("B", b)):
            prefix = f"{FOLDERS[part]}." if place == "metadata" else "base_model.model."
            state[f"{prefix}{layer}.lora_{half}.weight"] = value.contiguous()
    if place == "metadata":
        each = [{f"{folder}.{k}": v for k, v in settings.items()} for folder in FOLDERS.values()]
        own = {"unet": "attn1.to_q", "language_model": "attn.c_attn"}
        for folder, content in zip(FOLDERS.values(), each):
            name = own[folder]
            content[f"{folder}.alpha_pattern"] = {name: settings["alpha_pattern"][name]}
        metadata["lora_adapter_metadata"] = json.dumps(each[0] | each[1])
    else:
        (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    path = tmp_path / "adapter_model.safetensors"
    save_file(state, path, metadata=metadata)

    def scale(part, layer):
        alpha = {"attn1.to_q": 12, "attn.c_attn": 1.5}.get(".".join(layer.split(".")[-2:]), 6)
        return alpha / (math.sqrt(3) if rslora else 3)

    check(checkpoint, tmp_path if place == "folder" else path, scale)


def test_what_is_written(checkpoint, tmp_path):
    """Names and shapes of diffusers' and transformers' modules, one rank for all of a part."""
    parts = {name: checkpoint.params[name] for name in ("unet", "gpt2")}
    change = lora.make(parts, 2, jax.random.key(0))
    change = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(jax.random.key(1), x.shape), change)
    lora.save(change, tmp_path / "x.safetensors")
    again = lora.load(tmp_path / "x.safetensors")
    jax.tree.map(np.testing.assert_array_equal, change, again)
    state, merged = load_file(tmp_path / "x.safetensors"), lora.merge(checkpoint.params, change)
    merged, originals = states(checkpoint, merged), states(checkpoint, checkpoint.params)
    for part, folder in FOLDERS.items():
        ranks, expected = set(), dict(originals[part])
        for name in [n for n in state if n.startswith(folder) and n.endswith(".lora_A.weight")]:
            layer = name.removeprefix(f"{folder}.").removesuffix(".lora_A.weight")
            a, b = state[name], state[name.replace("lora_A", "lora_B")]
            delta = b @ a
            expected[f"{layer}.weight"] = expected[f"{layer}.weight"] + (
                delta.T if part == "gpt2" else delta
            )
            ranks.add(a.shape[0])
        assert len(ranks) == 1
        for name, value in expected.items():
            np.testing.assert_allclose(merged[part][name], value, atol=1e-5)


def test_files_of_our_older_form(checkpoint, tmp_path):
    change = lora.make({"unet": checkpoint.params["unet"]}, 2, jax.random.key(0))
    state = {name: torch.tensor(np.asarray(v)) for name, v in tree.flatten(change).items()}
    save_file(state, tmp_path / "x.safetensors")
    jax.tree.map(np.testing.assert_array_equal, change, lora.load(tmp_path / "x.safetensors"))


LAYER = f"unet.{UNET}.attn1.to_q"
A, B = torch.ones(3, 64), torch.ones(64, 3)


@pytest.mark.parametrize(
    "state, message",
    [
        ({}, "holds no tensors"),
        ({f"{LAYER}.lora_A.weight": A}, "half of .* is missing"),
        ({f"{LAYER}.lora_A.weight": A, f"{LAYER}.lora_B.weight": B[:, :2]}, "do not fit"),
        ({f"{LAYER}.lora_A.weight": A[0], f"{LAYER}.lora_B.weight": B[0]}, "do not fit"),
        ({f"{LAYER}.lora_A.weight": A[:0], f"{LAYER}.lora_B.weight": B[:, :0]}, "do not fit"),
        ({f"{LAYER}.lora_A.weight": A[None], f"{LAYER}.lora_B.weight": B}, "do not fit"),
        ({f"{LAYER}.lora_A.weight": A.int(), f"{LAYER}.lora_B.weight": B}, "weights are floats"),
        ({f"{LAYER}.lora_A.weight": A * np.nan, f"{LAYER}.lora_B.weight": B}, "NaN or infinity"),
        ({f"{LAYER}.lora_A.weight": A, f"{LAYER}.lora_B.weight": B * np.inf}, "NaN or infinity"),
        ({f"{LAYER}.lora_A.weight": A, f"{LAYER}.lora_B.weight": B,
          f"{LAYER}.alpha": torch.ones(2)}, "no single number"),
        ({f"{LAYER}.lora_A.weight": A, f"{LAYER}.lora_B.weight": B,
          f"{LAYER}.lora_down.weight": A}, "is changed twice"),
        ({f"{LAYER}.lora_magnitude_vector": A}, "not of a LoRA file"),
        ({f"{LAYER}.lora_B.bias": A}, "not of a LoRA file"),
        ({f"{LAYER}.hada_w1_a": A}, "not of a LoRA file"),
        ({f"{LAYER}.lora_A.weight": A, f"{LAYER}.lora_B.weight": B, "x.weight": A}, "x.weight"),
        ({"unet.other.lora_A.weight": A, "unet.other.lora_B.weight": B}, "no layer of a model"),
        ({"unet/x/kernel/a": A}, "half of unet/x/kernel is missing"),
        ({"unet/x/kernel/a": A[0], "unet/x/kernel/b": B}, "is no matrix"),
        ({"unet/x/kernel/a": A, "unet/x/kernel/b": A}, "do not fit"),
    ],
)  # fmt: skip
def test_files_that_are_refused(tmp_path, state, message):
    state = {name: value.clone() for name, value in state.items()}
    save_file(state, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=message) as caught:
        lora.load(tmp_path / "x.safetensors")
    assert "\n" not in str(caught.value) and "x.safetensors" in str(caught.value)


@pytest.mark.parametrize(
    "settings, message",
    [
        ("[", "not readable as JSON"),
        ("[]", "not expected"),
        ('{"use_dora": true}', "DoRA"),
        ('{"peft_type": "LOHA"}', "other kinds"),
        ('{"lora_alpha": "x"}', "not numbers"),
        ('{"lora_alpha": NaN}', "not numbers"),
        ('{"alpha_pattern": [3]}', "not numbers"),
        ('{"alpha_pattern": {"x": true}}', "not numbers"),
        ('{"alpha_pattern": {"(a+)+$": 3}}', "names none of its layers"),
    ],
)
def test_settings_that_are_refused(tmp_path, settings, message):
    (tmp_path / "adapter_config.json").write_text(settings)
    state = {f"{LAYER}.lora_A.weight": A, f"{LAYER}.lora_B.weight": B}
    save_file(state, tmp_path / "adapter_model.safetensors")
    with pytest.raises(InputError, match=message):
        lora.load(tmp_path)


def test_places(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    state = {f"{LAYER}.lora_A.weight": A, f"{LAYER}.lora_B.weight": B}
    save_file(state, tmp_path / "pytorch_lora_weights.safetensors")
    assert set(lora.load("~")) == {"unet"} == set(lora.load("~/pytorch_lora_weights.safetensors"))
    for name in ("~nobody-of-this-name/x", "a\0b", tmp_path / "absent"):
        with pytest.raises(InputError):
            lora.load(name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no LoRA file"):
        lora.load(tmp_path / "empty")
