"""The hub layout: other libraries' variants load, damage is named in one line."""

import json
import shutil
import weakref

import diffusers
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import reference
import torch
from safetensors.numpy import load_file, save_file

from audioldm2_jax.checkpoints import download, hub, scheduler
from audioldm2_jax.checkpoints.parts import PARTS, PartFiles
from audioldm2_jax.checkpoints.weights import safetensors
from audioldm2_jax.data.untrained import write_random
from audioldm2_jax.diffusion import schedules
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import ScheduleConfig

AUTHORS = hub.convention_named("authors")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "tiny"
    write_random(folder, "tiny")
    return folder


@pytest.fixture
def folder(original, tmp_path):
    """A copy to damage."""
    return shutil.copytree(original, tmp_path / "tiny")


def edit(path, **changes):
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(content))


def edit_weights(path, change):
    state = load_file(path)
    change(state)
    save_file(state, path)


def part(folder, name, config=None):
    config = config or getattr(hub.read_config(folder, AUTHORS), name)
    return hub.load_part(folder, name, config)


def test_gpt2_as_base_model_loads_the_same(folder):
    expected = part(folder, "gpt2")
    path = folder / "language_model" / "model.safetensors"

    def flatten_names(state):
        for name in list(state):
            state[name.removeprefix("transformer.")] = state.pop(name)
        state["h.0.attn.bias"] = np.tril(np.ones((1, 1, 8, 8), bool))
        state["lm_head.weight"] = state["wte.weight"].copy()

    edit_weights(path, flatten_names)
    edit(
        folder / "model_index.json",
        language_model=["transformers", "GPT2Model"],
    )
    jax.tree.map(np.testing.assert_array_equal, part(folder, "gpt2"), expected)


def test_older_names_load_the_same(folder):
    vae, t5, clap = (part(folder, name) for name in ("vae", "t5", "clap"))

    def old_attention(state):
        names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        for name in list(state):
            for new, old in names.items():
                if f".attentions.0.{new}." in name:
                    state[name.replace(new, old)] = state.pop(name)

    edit_weights(folder / "vae" / "diffusion_pytorch_model.safetensors", old_attention)
    edit_weights(
        folder / "text_encoder_2" / "model.safetensors",
        lambda s: s.update({"encoder.embed_tokens.weight": s["shared.weight"].copy()}),
    )
    edit_weights(
        folder / "text_encoder" / "model.safetensors",
        lambda s: [s.pop(k) for k in list(s) if "position_i" in k or "index" in k],
    )
    for name, expected in (("vae", vae), ("t5", t5), ("clap", clap)):
        jax.tree.map(np.testing.assert_array_equal, part(folder, name), expected)


def test_tied_tensors_must_agree(folder):
    edit_weights(
        folder / "text_encoder_2" / "model.safetensors",
        lambda s: s.update({"encoder.embed_tokens.weight": s["shared.weight"] + 1}),
    )
    with pytest.raises(InputError, match="should be the same tensor"):
        part(folder, "t5")


def test_torch_files_load_the_same(folder):
    expected = part(folder, "unet")
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    state = {k: torch.tensor(v) for k, v in load_file(path).items()}
    path.unlink()
    # A transposed view: stored with strides of its own.
    name = "time_embedding.linear_1.weight"
    state[name] = state[name].T.contiguous().T
    torch.save(state, folder / "unet" / "diffusion_pytorch_model.bin")
    jax.tree.map(np.testing.assert_array_equal, part(folder, "unet"), expected)


def test_shards_load_the_same(folder):
    expected = part(folder, "t5")
    path = folder / "text_encoder_2" / "model.safetensors"
    state = load_file(path)
    path.unlink()
    where = {}
    for i, names in enumerate(np.array_split(sorted(state), 2)):
        shard = f"model-{i}.safetensors"
        save_file({n: state[n] for n in names}, path.parent / shard)
        where |= dict.fromkeys(names.tolist(), shard)
    index = path.parent / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": where}))
    jax.tree.map(np.testing.assert_array_equal, part(folder, "t5"), expected)
    (path.parent / "model-1.safetensors").unlink()
    with pytest.raises(InputError, match="shard model-1.safetensors is missing"):
        part(folder, "t5")


@pytest.mark.parametrize("stored", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_casting_on_the_fly(folder, stored):
    path = folder / "projection_model" / "diffusion_pytorch_model.safetensors"
    edit_weights(path, lambda s: s.update({k: v.astype(stored) for k, v in s.items()}))
    config = hub.read_config(folder, AUTHORS).projection
    for dtype in (jnp.float32, jnp.bfloat16):
        params = hub.load_part(folder, "projection", config, dtype)
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(dtype)}


def test_loading_holds_one_copy(original, monkeypatch):
    """Of the tensors as they lie in the file, few are alive at any time."""
    alive, peak, total = 0, 0, 0
    read = safetensors.Slice.read

    def died(size):
        nonlocal alive
        alive -= size

    def counted(self):
        nonlocal alive, peak, total
        array = read(self)
        # Vectors need no turning and become the parameters themselves.
        if array.ndim > 1:
            alive, total = alive + array.nbytes, total + array.nbytes
            peak = max(peak, alive)
            weakref.finalize(array.base if array.base is not None else array, died, array.nbytes)
        return array

    monkeypatch.setattr(safetensors.Slice, "read", counted)
    params = part(original, "unet")
    assert total > 0 and params
    assert peak < 0.3 * total, (peak, total)


def drop(name):
    return lambda state: state.pop(name)


@pytest.mark.parametrize(
    "change, message",
    [
        (drop("conv_in.bias"), "tensor conv_in.bias is missing"),
        (
            lambda s: s.update({"conv_in.more": np.zeros(3)}),
            "unexpected tensor conv_in.more",
        ),
        (
            lambda s: s.update({"down_blocks.9.resnets.0.norm1.weight": np.zeros(3)}),
            "down_blocks.9.resnets.0.norm1.weight is not in the configured model",
        ),
        (
            lambda s: s.update({"conv_in.bias": np.zeros(31, np.float32)}),
            r"conv_in.bias has shape \(31,\), expected \(32,\)",
        ),
        (
            lambda s: s.update({"conv_in.weight": np.zeros((32, 8, 3), np.float32)}),
            r"conv_in.weight has shape \(32, 8, 3\), expected \(32, 8, 3, 3\)",
        ),
        (
            lambda s: s.update({"mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj.weight":
                                np.zeros((510, 64), np.float32)}),
            r"has shape \(510, 64\), expected \(512, 64\)",
        ),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit_are_named(folder, change, message):
    edit_weights(folder / "unet" / "diffusion_pytorch_model.safetensors", change)
    with pytest.raises(InputError, match=message) as caught:
        hub.load(folder)
    assert "diffusion_pytorch_model.safetensors" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 4, 100, 5000, -10])
def test_truncated_safetensors(folder, keep):
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="not a complete safetensors file") as caught:
        part(folder, "vae")
    assert str(path) in str(caught.value)


def test_missing_weights(folder):
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(InputError, match="vae: no weights found"):
        part(folder, "vae")


@pytest.mark.parametrize(
    "name, changes, message",
    [
        ("model_index.json", dict(vae=["diffusers", "VQModel"]), "vae is of class 'VQModel'"),
        ("model_index.json", dict(unet=None), "unet is of class None"),
        ("model_index.json", dict(image_encoder=["a", "B"]), "unknown part 'image_encoder'"),
        ("model_index.json", dict(text_encoder_2=["transformers", "BertModel"]), "BertModel"),
        ("unet/config.json", dict(class_embed_type="projection"), "class_embed_type"),
        ("unet/config.json", dict(attention_head_dim=[1, 2, 3]), "3 entries for 2 levels"),
        ("unet/config.json", dict(attention_head_dim=[1, 5]), "does not divide width 64"),
        ("vae/config.json", dict(shift_factor=0.1), "shift_factor is 0.1"),
        ("scheduler/scheduler_config.json", dict(clip_sample=True), "clip_sample"),
        ("scheduler/scheduler_config.json", dict(_class_name="LCMScheduler"), "LCMScheduler"),
        ("text_encoder_2/config.json", dict(feed_forward_proj="gated-silu"), "feed_forward_proj"),
        ("feature_extractor/preprocessor_config.json", dict(truncation="none"), "none"),
        ("model_index.json", dict(_class_name="StableAudioPipeline"), "StableAudioPipeline"),
        (
            "text_encoder/config.json",
            dict(audio_config=dict(enable_fusion=True, fusion_type="channel_map")),
            "channel_map",
        ),
        (
            "projection_model/config.json",
            dict(use_learned_position_embedding=True),
            "max_seq_length",
        ),
    ],
)
def test_configurations_that_are_not_computed_are_refused(folder, name, changes, message):
    edit(folder / name, **changes)
    with pytest.raises(InputError, match=message) as caught:
        hub.read_config(folder, AUTHORS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["model_index.json", "unet/config.json", "tokenizer"])
def test_incomplete_folders(folder, name):
    path = folder / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(InputError):
        hub.load(folder)


def test_broken_json(folder):
    (folder / "vae" / "config.json").write_text("{")
    with pytest.raises(InputError, match="vae/config.json: not readable as JSON"):
        hub.read_config(folder, AUTHORS)


def test_heads_given_for_each_level_are_obeyed(folder):
    edit(folder / "unet" / "config.json", attention_head_dim=[4, 4])
    for name in ("authors", "diffusers"):
        assert hub.read_config(folder, hub.convention_named(name)).unet.heads == (4, 4)


@pytest.mark.parametrize("sampler, algorithm", [("dpm++2m", None), ("dpm++2m-sde", "sde")])
def test_the_model_s_own_sampler(sampler, algorithm, tmp_path):
    """Kept by diffusers' class for it, which reads every entry."""
    schedule = ScheduleConfig(sampler=sampler)
    content = scheduler.write_schedule(schedule)
    assert scheduler.read_schedule(content, "") == schedule
    kind = getattr(diffusers, scheduler.scheduler_class(schedule))
    (tmp_path / "scheduler_config.json").write_text(json.dumps(content))
    theirs, unused = kind.from_pretrained(tmp_path, return_unused_kwargs=True)
    assert all(name.startswith("_") for name in unused), unused
    assert not algorithm or theirs.config.algorithm_type.startswith(algorithm)
    np.testing.assert_allclose(theirs.alphas_cumprod, schedules.alphas_cumprod(schedule), rtol=1e-4)


def test_saving_into_a_full_folder_is_refused(original, folder):
    with pytest.raises(InputError, match="not empty"):
        hub.save(hub.load(original), folder)


def test_a_failed_save_leaves_nothing(original, tmp_path):
    checkpoint = hub.load(original)
    checkpoint.params["vae"]["extra"] = {"kernel": jnp.zeros(3)}
    with pytest.raises(ValueError, match="no rule exports"):
        hub.save(checkpoint, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["nowhere/at all", "/no/such/folder", "plain", "../up/there/x"])
def test_neither_folder_nor_hub_id(name):
    with pytest.raises(InputError, match="no such folder"):
        download.locate(name)


def test_a_name_is_of_the_package_s_own_models_first(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_BUNDLED", tmp_path / "bundled")
    for folder in (tmp_path / "bundled" / "small", tmp_path / "here" / "small"):
        folder.mkdir(parents=True)
        (folder / "model_index.json").touch()
    monkeypatch.chdir(tmp_path / "here")
    assert download.locate("small") == tmp_path / "bundled" / "small"
    assert download.locate("./small").resolve() == tmp_path / "here" / "small"
    with pytest.raises(InputError, match="large: no such folder"):
        download.locate("large")


def test_a_hub_id_while_offline():
    with pytest.raises(InputError, match="the hub cannot be reached") as caught:
        download.locate("cvssp/audioldm2", revision="abc")
    assert "cvssp/audioldm2 at revision 'abc'" in str(caught.value)


def test_a_hub_id_from_the_cache(original, tmp_path, monkeypatch):
    """The layout that huggingface_hub keeps; nothing is asked of the network."""
    from huggingface_hub import constants

    cache = tmp_path / "hub"
    snapshot = cache / "models--someone--sound" / "snapshots" / ("1" * 40)
    shutil.copytree(original, snapshot)
    (cache / "models--someone--sound" / "refs").mkdir()
    (cache / "models--someone--sound" / "refs" / "main").write_text("1" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    assert download.locate("someone/sound") == snapshot


def test_a_file_is_no_checkpoint(original):
    with pytest.raises(InputError, match="a checkpoint is a folder"):
        download.locate(original / "model_index.json")


def test_what_is_downloaded():
    files = [
        "README.md", "model_index.json", "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.fp16.safetensors", "vae/diffusion_pytorch_model.bin",
        "tokenizer_2/spiece.model", "tokenizer/merges.txt", "onnx/model.onnx",
    ]  # fmt: skip
    assert download.choose(files) == [
        "model_index.json", "tokenizer/merges.txt", "tokenizer_2/spiece.model", "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.bin",
    ]  # fmt: skip


def test_the_reference_loads_what_transformers_saves(tmp_path):
    """A CLAP file as the current transformers writes it, with its buffers."""
    reference.clap().save_pretrained(tmp_path / "text_encoder")
    config = json.loads((tmp_path / "text_encoder" / "config.json").read_text())
    clap, files = PARTS["clap"], PartFiles(config)
    read = clap.interpret(clap.read(files), files, AUTHORS)
    assert read.text.eps == 1e-5
    hub.load_part(tmp_path, "clap", read)


def test_huge_numbers_of_tokens_are_refused(folder):
    path = folder / "tokenizer" / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["vocab"][max(content["model"]["vocab"])] = 2**31
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"a token has number {2**31}"):
        hub.load(folder, only=())


def test_folders_of_the_checkpoint_beside(tmp_path):
    """`_shared_with` names it; own folders come first, and no other place is read."""
    write_random(tmp_path / "whole", "tiny")
    shutil.copytree(tmp_path / "whole", tmp_path / "sharing")
    for name in ("vae", "tokenizer"):
        shutil.rmtree(tmp_path / "sharing" / name)
    with pytest.raises(InputError, match="vae/config.json: missing"):
        hub.load(tmp_path / "sharing")
    path = tmp_path / "sharing" / "model_index.json"
    index = json.loads(path.read_text())
    path.write_text(json.dumps(index | {"_shared_with": "whole"}))
    full, sharing = hub.load(tmp_path / "whole"), hub.load(tmp_path / "sharing")
    assert sharing.config == full.config and sharing.tokenizers.keys() == full.tokenizers.keys()
    assert jax.tree.all(jax.tree.map(np.array_equal, sharing.params, full.params))
    for name in ("../whole", str(tmp_path / "whole"), "nowhere", "", 3, None):
        path.write_text(json.dumps(index | {"_shared_with": name}))
        with pytest.raises(InputError, match="vae/config.json: missing"):
            hub.load(tmp_path / "sharing")
