"""The reference packages' tiny models with random weights of healthy scale; how to compare."""

import jax
import numpy as np
import torch
from diffusers import AudioLDM2ProjectionModel, AudioLDM2UNet2DConditionModel, AutoencoderKL
from transformers import (
    ClapConfig,
    ClapModel,
    GPT2Config,
    GPT2LMHeadModel,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
    T5EncoderModel,
)
from transformers import T5Config as HubT5Config

from audioldm2_jax.checkpoints.convert import to_params


def healthy(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Redraws all weights so that activations keep a scale near one through every layer."""
    generator = torch.Generator().manual_seed(seed)

    def draw(shape, scale):
        return torch.randn(shape, generator=generator) * scale

    with torch.no_grad():
        for name, p in module.named_parameters():
            if p.ndim == 0:
                p.copy_(draw(p.shape, 0.1) + 1)
            elif p.ndim == 1:
                p.copy_(draw(p.shape, 0.1) + (1.0 if name.endswith("weight") else 0.0))
            elif "embed" in name or "wte" in name or "wpe" in name or "shared" in name:
                p.copy_(draw(p.shape, 1.0))
            elif "upsampler" in name and p.ndim == 3:
                p.copy_(draw(p.shape, (p.shape[0] * 2) ** -0.5))
            else:
                p.copy_(draw(p.shape, p[0].numel() ** -0.5))
        for name, b in module.named_buffers():
            if name.endswith("running_mean"):
                b.copy_(draw(b.shape, 1.0))
            elif name.endswith("running_var"):
                b.copy_(draw(b.shape, 1.0).abs() + 0.5)
    return module.eval()


def clap(**audio) -> ClapModel:
    text = dict(
        vocab_size=600,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
    )
    audio = (
        dict(
            spec_size=64,
            num_mel_bins=16,
            patch_embeds_hidden_size=16,
            depths=[2, 2],
            num_attention_heads=[2, 4],
            window_size=4,
            hidden_size=32,
            num_hidden_layers=2,
        )
        | audio
    )
    return healthy(ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=24)))


def t5(feed_forward: str = "gated-gelu") -> T5EncoderModel:
    config = HubT5Config(
        vocab_size=600,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        feed_forward_proj=feed_forward,
    )
    model = healthy(T5EncoderModel(config))
    with torch.no_grad():
        model.shared.weight.mul_(3.0)
    return model


def gpt2() -> GPT2LMHeadModel:
    config = GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=256)
    config.max_new_tokens = 8
    return healthy(GPT2LMHeadModel(config))


def projection() -> AudioLDM2ProjectionModel:
    return healthy(AudioLDM2ProjectionModel(24, 32, 32))


def unet(heads=8, contexts=((None, 32, 32),) * 3, depth=1, **changes):
    config = (
        dict(
            sample_size=256,
            in_channels=8,
            out_channels=8,
            flip_sin_to_cos=True,
            freq_shift=0,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            block_out_channels=(32, 64, 96),
            layers_per_block=1,
            norm_num_groups=16,
            cross_attention_dim=[list(c) for c in contexts],
            attention_head_dim=heads,
            transformer_layers_per_block=depth,
        )
        | changes
    )
    return healthy(AudioLDM2UNet2DConditionModel(**config))


def vae() -> AutoencoderKL:
    return healthy(
        AutoencoderKL(
            in_channels=1,
            out_channels=1,
            latent_channels=8,
            block_out_channels=(16, 32, 32),
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            layers_per_block=1,
            norm_num_groups=8,
            scaling_factor=0.4110932946205139,
        )
    )


def vocoder(**changes) -> SpeechT5HifiGan:
    config = (
        dict(
            model_in_dim=64,
            sampling_rate=16000,
            upsample_initial_channel=64,
            upsample_rates=[5, 4, 2, 2, 2],
            upsample_kernel_sizes=[16, 16, 8, 4, 4],
            resblock_kernel_sizes=[3, 7],
            resblock_dilation_sizes=[[1, 3], [1, 3]],
            normalize_before=False,
        )
        | changes
    )
    return healthy(SpeechT5HifiGan(SpeechT5HifiGanConfig(**config)))


def state(module: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in module.state_dict().items()}


def params_of(module: torch.nn.Module, table, model, *arguments, method=None) -> dict:
    """The torch module's weights as parameters of `model`, shaped by initialising it."""
    like = jax.eval_shape(lambda: model.init(jax.random.key(0), *arguments, method=method))
    return to_params(state(module), table, like["params"], where="reference")


def assert_close(ours, theirs, tolerance=1e-4):
    """Largest difference within `tolerance` of the reference's standard deviation."""
    theirs = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else np.asarray(theirs)
    ours = np.asarray(ours)
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    deviation = theirs.std()
    assert 1e-3 < deviation < 1e3, f"the reference's scale {deviation} proves nothing"
    error = np.abs(ours - theirs).max() / deviation
    assert error <= tolerance, f"differs by {error:.2e} of the standard deviation"
