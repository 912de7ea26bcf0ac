"""TANGO's folders: against diffusers' U-Net and scheduler and transformers' T5, and bad input."""

import json
import shutil
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel

from audioldm2_jax import Pipeline
from audioldm2_jax.checkpoints import hub, tango
from audioldm2_jax.checkpoints.convert import from_params
from audioldm2_jax.cli.main import main
from audioldm2_jax.data.untrained import random_checkpoint
from audioldm2_jax.encoders.latents import decode_latents, vocode_mel
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.unet import UNet
from audioldm2_jax.pipelines.batch import clip_keys
from audioldm2_jax.pipelines.programs.shared import clip_noise
from audioldm2_jax.pipelines.request import ClipRequest
from audioldm2_jax.presets import PRESETS
from tests import reference
from tests.kernels import xla_kernels

PROMPTS = ["a dog barks", "rain on a tin roof"]
MODEL = PRESETS["tiny-tango"]()
# The entries of stabilityai/stable-diffusion-2-1 that diffusers' DDPM of TANGO's time read.
SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "prediction_type": "v_prediction",
}


def torch_unet():
    unet, levels = MODEL.unet, len(MODEL.unet.channels)
    down = ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in unet.attention]
    return reference.healthy(
        UNet2DConditionModel(
            in_channels=unet.in_channels,
            out_channels=unet.out_channels,
            block_out_channels=unet.channels,
            layers_per_block=unet.layers,
            down_block_types=down,
            up_block_types=[name.replace("Down", "Up") for name in reversed(down)],
            cross_attention_dim=32,
            attention_head_dim=unet.heads[:levels],
            norm_num_groups=unet.groups,
            use_linear_projection=True,
            upcast_attention=True,
        )
    )


@pytest.fixture(scope="module")
def modules():
    return {"text_encoder": reference.t5(), "unet": torch_unet()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, modules):
    """A folder as the authors publish it, and `tokenizers` in the hub layout beside it."""
    folder = tmp_path_factory.mktemp("tango") / "published"
    folder.mkdir()
    checkpoint = random_checkpoint(MODEL)
    hub.save(checkpoint, folder.parent / "tokenizers")
    state = {
        f"{name}.{key}": value
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }
    torch.save(state, folder / "pytorch_model_main.bin")
    state = {}
    for name, prefix in (("vae", ""), ("vocoder", "vocoder.")):
        config = getattr(MODEL, name)
        tensors = from_params(checkpoint.params[name], tango.table_of(name, config), config)
        names = [key for key in tensors if key not in ("mean", "scale")]
        state |= {f"{prefix}{key}": torch.tensor(np.array(tensors[key])) for key in names}
    torch.save(state, folder / "pytorch_model_vae.bin")
    torch.save({"mel_basis": torch.zeros(2)}, folder / "pytorch_model_stft.bin")
    main_config = {
        "text_encoder_name": "tiny/t5",
        "scheduler_name": "stabilityai/stable-diffusion-2-1",
        "unet_model_name": None,
        "unet_model_config_path": "configs/tiny.json",
        "snr_gamma": 5.0,
    }
    vae = {"ddconfig": {"double_z": True, "z_channels": 8, "in_channels": 1, "out_ch": 1, "ch": 16}}
    vae["ddconfig"] |= {"ch_mult": [1, 2, 2], "num_res_blocks": 1, "attn_resolutions": []}
    vae |= {"subband": 1, "embed_dim": 8, "time_shuffle": 1, "scale_factor": MODEL.vae.scale}
    for name, content in (("main", main_config), ("vae", vae), ("stft", {"hop_length": 160})):
        (folder / f"{name}_config.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(autouse=True)
def tiny_names(monkeypatch):
    """The names in main_config.json of the tiny text encoder, U-Net, VAE groups and vocoder."""
    monkeypatch.setitem(tango.TEXT_ENCODERS, "tiny/t5", MODEL.t5)
    monkeypatch.setitem(tango.UNETS, "tiny.json", MODEL.unet)
    # What the authors' files leave to their code.
    monkeypatch.setattr(tango, "tango", lambda: MODEL)


@pytest.fixture
def pipe(folder):
    tokenizers = folder.parent / "tokenizers"
    return Pipeline.from_pretrained(folder, tokenizers=tokenizers, progress=False)


def authors_latents(modules, tokenizer, noise, steps: int, guidance: float):
    """AudioDiffusion.inference of the authors' repository, with its noise given: [B, C, T, F]."""

    def encode(texts):
        batch = tokenizer(texts, padding=True, return_tensors="pt")
        states = modules["text_encoder"](batch.input_ids, batch.attention_mask)[0]
        return states, batch.attention_mask

    (states, mask), (empty, empty_mask) = encode(PROMPTS), encode([""] * len(PROMPTS))
    padding = states.shape[1] - empty.shape[1]
    empty = torch.nn.functional.pad(empty, (0, 0, 0, padding))
    states = torch.cat([empty, states])
    mask = torch.cat([torch.nn.functional.pad(empty_mask, (0, padding)), mask]) == 1
    scheduler = DDPMScheduler(**SCHEDULER)
    scheduler.set_timesteps(steps)
    x, *draws = (torch.tensor(np.array(z)).permute(0, 3, 1, 2) for z in noise)
    place = "diffusers.schedulers.scheduling_ddpm.randn_tensor"
    with mock.patch(place, side_effect=draws), torch.no_grad():
        for t in scheduler.timesteps:
            both = modules["unet"](torch.cat([x] * 2), t, states, encoder_attention_mask=mask)
            negative, positive = both.sample.chunk(2)
            x = scheduler.step(negative + guidance * (positive - negative), t, x).prev_sample
    return x


@pytest.mark.slow
def test_generation_agrees_with_the_authors(folder, pipe, modules, monkeypatch):
    """The whole chain, with guidance and texts of unequal length."""
    xla_kernels(monkeypatch)
    steps, shape = 4, (2, 16, 16, 8)
    keys = clip_keys([ClipRequest(p, seed=5, clip=i) for i, p in enumerate(PROMPTS)], range(2))
    noise = [clip_noise(keys, i, shape) for i in range(steps + 1)]
    settings = {"seconds": 0.64, "steps": steps, "seed": 5, "progress": False}
    assert pipe.config.schedule.sampler == "ddpm"
    ours = pipe(PROMPTS, **settings)
    assert ours.metadata["guidance"] == 3.0
    tokenizer = pipe.tokenizers["tokenizer_2"]
    latents = authors_latents(modules, tokenizer, noise, steps, 3.0)
    latents = jnp.asarray(latents.permute(0, 2, 3, 1).numpy())
    params = {n: tango.load_part(folder, n, getattr(MODEL, n)) for n in ("vae", "vocoder")}
    mel = decode_latents(params["vae"], latents, MODEL.vae, jnp.float32)
    theirs = vocode_mel(params["vocoder"], mel, MODEL.vocoder, jnp.float32)
    reference.assert_close(ours.audio, np.asarray(theirs)[:, : ours.audio.shape[1]], 1e-3)


def test_unet_agrees_with_diffusers(folder, modules, monkeypatch):
    xla_kernels(monkeypatch)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 16, 16, 8)).astype(np.float32)
    states = rng.standard_normal((2, 5, 32)).astype(np.float32)
    mask = np.arange(5)[None] < np.array([[5], [3]])
    params = tango.load_part(folder, "unet", MODEL.unet)
    apply = jax.jit(UNet(MODEL.unet).apply)
    ours = apply({"params": params}, x, jnp.array([7.0, 400.0]), (states, None), (mask, None))
    with torch.no_grad():
        theirs = modules["unet"](
            torch.tensor(x).permute(0, 3, 1, 2),
            torch.tensor([7, 400]),
            torch.tensor(states),
            encoder_attention_mask=torch.tensor(mask),
        ).sample
    reference.assert_close(ours, theirs.permute(0, 2, 3, 1))


@pytest.mark.parametrize("name", ("t5", "unet", "vae", "vocoder"))
def test_tables_are_inverse(folder, name):
    config = getattr(tango.read_config(folder), name)
    file, prefix = tango._PLACES[name]
    stored = torch.load(folder / file)
    written = from_params(
        tango.load_part(folder, name, config), tango.table_of(name, config), config
    )
    written = {f"{prefix}{key}": value for key, value in written.items()}
    own = {key for key in stored if key.startswith(prefix) and key in written}
    assert own and own >= {key for key in written if not key.endswith((".mean", ".scale"))}
    for key in own:
        np.testing.assert_array_equal(written[key].reshape(stored[key].shape), stored[key].numpy())


def test_convert_writes_the_hub_layout(folder, tmp_path):
    words = ["convert", str(folder), str(tmp_path / "out"), "-q"]
    assert main([*words, "--tokenizers", str(folder.parent / "tokenizers")]) == 0
    assert hub.read_config(tmp_path / "out", hub.convention_named("authors")) == MODEL


@pytest.mark.parametrize(
    "change, message",
    [
        ({"scheduler_name": "other/one"}, "scheduler_name is 'other/one'"),
        ({"text_encoder_name": None}, "text_encoder_name is None"),
        ({"unet_model_name": "stabilityai/stable-diffusion-2-1"}, "unet_model_name"),
        ({"unet_model_config_path": "../../etc/passwd"}, "unet_model_config_path"),
    ],
)
def test_unknown_names_are_refused(folder, tmp_path, change, message):
    content = json.loads((folder / "main_config.json").read_text())
    (tmp_path / "main_config.json").write_text(json.dumps(content | change))
    shutil.copy(folder / "vae_config.json", tmp_path)
    with pytest.raises(InputError, match=message):
        tango.read_config(tmp_path)


def test_a_missing_file_is_named(folder, tmp_path):
    with pytest.raises(InputError, match="pytorch_model_main.bin: missing"):
        tango.load_part(tmp_path, "unet", MODEL.unet)


@pytest.mark.parametrize("option", ({"convention": "diffusers"}, {"variant": "fp16"}))
def test_options_without_effect_are_refused(folder, option):
    with pytest.raises(InputError, match="its authors' files"):
        Pipeline.from_pretrained(folder, progress=False, **option)
