"""Runs the authors' own packages on drawn weights and records what they compute.

Not part of the tests, which read the records in tests/checkpoints/authors/*.json: names, shapes
of every tensor in such a file, numbers of each part's output. To record again, beside the
project: pip install --no-deps into a folder on PYTHONPATH audioldm==0.1.1 audioldm2==0.1.0
laion-clap==1.1.7 torchlibrosa timm torchvision einops pytorch-lightning lightning-utilities
torchmetrics pandas matplotlib h5py wget webdataset braceexpand progressbar2 and what these import;
then python tests/oracles/authors.py. Nothing of theirs is copied here.
"""

from __future__ import annotations

import functools
import importlib.machinery
import json
import sys
import types
from pathlib import Path

import numpy as np
import torch
from weights import draw, sample, weight

RECORDS = Path(__file__).parent.parent / "checkpoints" / "authors"
# No level of the U-Nets is as wide, so that shapes tell what attends to itself.
T5_WIDTH = 48


def stand_ins() -> None:
    """What the packages import and no part needs: torchaudio, torchvision's operators, the hub."""
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float threshold) -> Tensor")
    stand_ins.library = library
    for name in ("torchaudio", "torchaudio.transforms", "torchaudio.functional"):
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        sys.modules[name] = module
    audio = sys.modules["torchaudio"]
    audio.transforms = sys.modules["torchaudio.transforms"]
    audio.functional = sys.modules["torchaudio.functional"]
    audio.transforms.MelSpectrogram = MelSpectrogram
    for name in ("audioldm", "audioldm2", "laion_clap"):
        module = types.ModuleType(name)
        results = importlib.machinery.PathFinder.find_spec(name)
        module.__path__ = list(results.submodule_search_locations)
        sys.modules[name] = module


class MelSpectrogram(torch.nn.Module):
    """Buffers of torchaudio's class, under its names."""

    def __init__(self, *_, **__):
        super().__init__()
        self.spectrogram, self.mel_scale = torch.nn.Module(), torch.nn.Module()
        self.spectrogram.register_buffer("window", torch.zeros(4))
        self.mel_scale.register_buffer("fb", torch.zeros(4, 4))


def small_language_models() -> None:
    """The hub's configurations, at a size for tests."""
    import librosa
    import transformers as t

    def fixed(kind, **settings):
        kind.from_pretrained = classmethod(lambda cls, *_, **__: cls(**settings))

    fixed(
        t.RobertaConfig,
        vocab_size=300,
        num_hidden_layers=1,
        intermediate_size=64,
        max_position_embeddings=40,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )
    t5 = {"d_model": T5_WIDTH, "d_kv": 16, "d_ff": 48, "num_layers": 1, "num_heads": 2}
    fixed(t.T5Config, vocab_size=40, feed_forward_proj="gated-gelu", **t5)
    fixed(t.GPT2Config, n_layer=1, vocab_size=20, n_positions=340, n_inner=96)
    t.RobertaModel.from_pretrained = classmethod(
        lambda cls, *_, **__: cls(t.RobertaConfig.from_pretrained())
    )
    for name in ("Roberta", "Auto", "Bert", "Bart", "CLIP"):
        getattr(t, f"{name}Tokenizer").from_pretrained = lambda *_, **__: None
    # Their librosa took these by position.
    center, mel = librosa.util.pad_center, librosa.filters.mel
    librosa.util.pad_center = lambda data, size=None, **k: center(data, size=size, **k)
    names = ("sr", "n_fft", "n_mels", "fmin", "fmax")
    librosa.filters.mel = lambda *a, **k: mel(**dict(zip(names, a)) | k)


def small_clap(package: str) -> None:
    """HTSAT of two stages in place of the named sizes."""
    module = importlib.import_module(f"{package}.htsat")
    model = importlib.import_module(f"{package}.model")
    factory = importlib.import_module(f"{package}.factory")

    def create(audio_cfg, enable_fusion=False, fusion_type="None"):
        return module.HTSAT_Swin_Transformer(
            spec_size=256,
            patch_size=4,
            patch_stride=(4, 4),
            num_classes=audio_cfg.class_num,
            embed_dim=16,
            depths=[2, 2],
            num_heads=[2, 4],
            window_size=8,
            config=audio_cfg,
            enable_fusion=enable_fusion,
            fusion_type=fusion_type,
        )

    model.create_htsat_model = create
    for settings in factory._MODEL_CONFIGS.values():
        settings["embed_dim"] = 32


def small_audiomae() -> None:
    from audioldm2.latent_diffusion.modules.audiomae import models_mae

    def create(**settings):
        return models_mae.MaskedAutoencoderViT(
            patch_size=16,
            embed_dim=64,
            depth=12,
            num_heads=1,
            decoder_embed_dim=32,
            decoder_depth=1,
            decoder_num_heads=2,
            mlp_ratio=1,
            norm_layer=functools.partial(torch.nn.LayerNorm, eps=1e-6),
            **settings,
        )

    models_mae.mae_vit_base_patch16 = create


def small_vocoders() -> None:
    from audioldm.hifigan import utilities
    from audioldm2.utilities import model

    small = {"upsample_initial_channel": 64, "resblock_kernel_sizes": [3, 7]}
    small |= {"resblock_dilation_sizes": [[1, 3, 5]] * 2}
    for name in ("get_vocoder_config", "get_vocoder_config_48k"):
        full = getattr(model, name)()
        setattr(model, name, lambda config=full | small: config)
    utilities.HIFIGAN_16K_64 |= small


def shrink(config: dict) -> dict:
    """The authors' configuration of a whole model, at a size for tests."""
    params = config["model"]["params"]
    params["device"] = "cpu"
    unet = params["unet_config"]["params"]
    # Heads of 64 channels go with AudioLDM's L, which its width gives away.
    unet |= {"model_channels": 256 if unet["num_head_channels"] == 64 else 32}
    unet |= {"channel_mult": [1, 2], "attention_resolutions": [2], "num_res_blocks": 1}
    if 1024 in (unet.get("context_dim") or ()):
        unet["context_dim"] = [T5_WIDTH if c == 1024 else c for c in unet["context_dim"]]
    vae = params["first_stage_config"]["params"]["ddconfig"]
    vae |= {"ch": 32, "ch_mult": [1] * len(vae["ch_mult"]), "num_res_blocks": 1}
    for stage in params["cond_stage_config"].values():
        inner = stage.get("params", {}) if isinstance(stage, dict) else {}
        inner.pop("pretrained_path", None)
        for part in inner.get("cond_stage_config", {}).values():
            part.get("params", {}).pop("pretrained_path", None)
        if "sequence_input_embed_dim" in inner:
            dims = inner["sequence_input_embed_dim"]
            inner["sequence_input_embed_dim"] = [T5_WIDTH if d == 1024 else d for d in dims]
            inner["sequence_gen_length"] = 6
    return params


def fill(module) -> dict:
    """Draws every floating tensor but the fixed front ends'; {name: shape} of the whole file."""
    state = module.state_dict()
    fixed = ("extractor", "mel_transform", "attn_mask")
    for name, value in state.items():
        if value.is_floating_point() and not any(word in name for word in fixed):
            state[name] = torch.tensor(weight(name, tuple(value.shape)))
    module.load_state_dict(state)
    module.eval()
    return {name: list(value.shape) for name, value in state.items()}


def tensor(name, *shape):
    return torch.tensor(draw(name, shape))


def clap_outputs(model) -> dict:
    ids = torch.tensor(np.abs(draw("ids", (2, 12)) * 100).astype(int) % 290 + 4)
    ids[0, 7:] = 1
    text = {"input_ids": ids, "attention_mask": (ids != 1).long()}
    results = {"clap text": model.get_text_embedding(text)}
    wave = 0.1 * tensor("wave", 2, 480000)
    # Their newest package takes a clip's shape for its length: [B, samples] in a dict.
    audio_inputs = {"waveform": wave, "longer": torch.zeros(2, 1, dtype=torch.bool)}
    if not model.audio_branch.enable_fusion:
        results["clap audio"] = normal(
            model.audio_projection(
                model.audio_branch(audio_inputs, mixup_lambda=None, device="cpu")["embedding"]
            )
        )
        return results
    audio_inputs = {"mel_fusion": 20 * tensor("mel", 2, 4, 1001, 64) - 30}
    audio_inputs["longer"] = torch.tensor([[True], [False]])
    embedding = model.audio_branch(audio_inputs, mixup_lambda=None, device="cpu")["embedding"]
    results["clap audio"] = normal(model.audio_projection(embedding))
    return results


def normal(x):
    return torch.nn.functional.normalize(x, dim=-1)


def model_outputs(model, unet_call) -> dict:
    """Outputs of everything that makes sound."""
    first = model.first_stage_model
    channels = (
        first.embed_dim if hasattr(first, "embed_dim") else first.quant_conv.weight.shape[0] // 2
    )
    bins = first.vocoder.h.num_mels
    factor = 2 ** (first.encoder.num_resolutions - 1)
    latents = tensor("latents", 2, channels, 8, bins // factor)
    return {
        "unet": unet_call(latents, torch.tensor([961, 961])),
        "vae decode": first.decode(latents),
        "vae encode": first.encode(tensor("mel", 1, 1, 8 * factor, bins)).mean,
        "vocoder": first.vocoder(tensor("mel", 1, bins, 12)),
    }


def record(name: str, tensors: dict, outputs: dict) -> None:
    RECORDS.mkdir(exist_ok=True)
    values = {
        key: {"shape": list(value.shape), "values": [round(v, 7) for v in sample(value.detach())]}
        for key, value in outputs.items()
    }
    lines = json.dumps({"tensors": tensors, "outputs": values}, separators=(",", ":"))
    (RECORDS / f"{name}.json").write_text(lines.replace('],"', '],\n"') + "\n")
    print(name, len(tensors), {k: round(float(v.std()), 3) for k, v in outputs.items()})


UNET = "model.diffusion_model."


def record_unet(name: str, tensors: dict, outputs: dict) -> None:
    """The U-Net alone, where the rest is another record's."""
    unet_shapes = {key: shape for key, shape in tensors.items() if key.startswith(UNET)}
    record(name, unet_shapes, {"unet": outputs["unet"]})


def audioldm2(name: str, official: str) -> None:
    from audioldm2.latent_diffusion.models.ddpm import LatentDiffusion
    from audioldm2.utils import default_audioldm_config

    model = LatentDiffusion(**shrink(default_audioldm_config(official)))
    tensors = fill(model)
    film, masks = None, []
    widths = model.model.diffusion_model.input_blocks[3][1:]
    contexts = [t.transformer_blocks[0].attn2.to_k.in_features for t in widths]
    outputs, conditioner = {}, model.cond_stage_models[0]
    if "full" in official or "speech" in official:
        outputs |= sequence_outputs(conditioner, "speech" in official)
    if "speech" in official or "full" in official:
        contexts = [tensor("loa", 2, 6, 768)]
        masks = [torch.ones(2, 6)]
        if "full" in official:
            contexts.append(tensor("text", 2, 9, T5_WIDTH))
            masks.append((torch.arange(9) < torch.tensor([[5], [9]])).float())
    elif "t5" in official:
        contexts = [tensor("text", 2, 9, T5_WIDTH)]
        masks = [(torch.arange(9) < torch.tensor([[5], [9]])).float()]
    else:
        contexts, film = [], tensor("film", 2, 512)

    def unet(latents, steps):
        return model.model.diffusion_model(
            latents, steps, y=film, context_list=contexts, context_attn_mask_list=masks
        )

    nested = getattr(conditioner, "cond_stage_models", [conditioner])[0]
    clap = model.clap if "t5" in official else nested
    outputs |= model_outputs(model, unet) | clap_outputs(clap.model)
    (record_unet if "large" in official else record)(name, tensors, outputs)


def sequence_outputs(conditioner, speech: bool) -> dict:
    """LOA, phoneme states, AudioMAE's features."""
    clap = tensor("clap", 2, 1, 512)
    if speech:
        ids = np.abs(draw("phonemes", (2, 310)) * 60).astype(int) % 180 + 1
        ids[0, 20:], ids[1, 33:] = 0, 0
        text = conditioner.cond_stage_models[1](torch.tensor(ids))
        cond = {"film_clap_cond1": clap, "crossattn_vits_phoneme": text}
        results = {"phonemes": text[0]}
    else:
        mask = (torch.arange(9) < torch.tensor([[5], [9]])).float()
        text = [tensor("text", 2, 9, T5_WIDTH), mask]
        cond, results = {"film_clap_cond1": clap, "crossattn_flan_t5": text}, {}
    results["loa"] = conditioner.generate(None, cond)[0]
    mae = conditioner.cond_stage_models[2].audiomae.model
    results["audiomae"] = mae.forward_encoder_no_mask(tensor("fbank", 1, 1, 1024, 128))
    return results


def audioldm(name: str, official: str) -> None:
    from audioldm.ldm import LatentDiffusion
    from audioldm.utils import default_audioldm_config

    model = LatentDiffusion(**shrink(default_audioldm_config(official)))
    tensors = fill(model)

    def unet(latents, steps):
        return model.model.diffusion_model(latents, steps, y=tensor("film", 2, 512))

    outputs = model_outputs(model, unet) | clap_outputs(model.cond_stage_model.model)
    (record_unet if "-l-" in official else record)(name, tensors, outputs)


def laion(name: str, fusion: bool) -> None:
    factory = importlib.import_module("laion_clap.clap_module.factory")
    model, _ = factory.create_model(
        "HTSAT-tiny", "roberta", "", device="cpu", enable_fusion=fusion, fusion_type="aff_2d"
    )
    tensors = fill(model)
    outputs = clap_outputs(model)
    record(name, {f"module.{key}": shape for key, shape in tensors.items()}, outputs)


def main() -> None:
    stand_ins()
    small_language_models()
    torch.set_grad_enabled(False)
    for package in (
        "audioldm2.clap.open_clip",
        "audioldm.clap.open_clip",
        "laion_clap.clap_module",
    ):
        small_clap(package)
    small_audiomae()
    small_vocoders()
    audioldm2("audioldm2", "audioldm2-full")
    audioldm2("audioldm2-large", "audioldm2-full-large-1150k")
    audioldm2("audioldm2-speech", "audioldm2-speech-gigaspeech")
    audioldm2("audioldm-48k", "audioldm_48k")
    audioldm2("audioldm-t5", "audioldm_16k_crossattn_t5")
    audioldm("audioldm-s", "audioldm-s-full")
    audioldm("audioldm-l", "audioldm-l-full")
    laion("clap", False)
    laion("clap-fused", True)


if __name__ == "__main__":
    main()
