"""transformers' MusicGen at tiny size, with weights that make its choices clear."""

from __future__ import annotations

import numpy as np
import torch
from transformers import (
    EncodecConfig,
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenForConditionalGeneration,
    T5Config,
)

TEXTS = ["techno with a strong beat", "a dog barks while birds sing in the distance"]


def model(channels: int = 1) -> MusicgenForConditionalGeneration:
    """50 frames of 64 samples a second, 4 levels of 64 codes for each channel."""
    torch.manual_seed(0)
    text = T5Config(
        vocab_size=300,
        d_model=24,
        d_kv=8,
        d_ff=48,
        num_layers=1,
        num_heads=3,
        feed_forward_proj="relu",
    )
    codec = EncodecConfig(
        sampling_rate=3200,
        num_filters=4,
        upsampling_ratios=[8, 4, 2],
        codebook_size=64,
        hidden_size=16,
        codebook_dim=16,
        target_bandwidths=[1.2],
        use_causal_conv=False,
        num_lstm_layers=1,
        use_conv_shortcut=False,
    )
    decoder = MusicgenDecoderConfig(
        vocab_size=64,
        num_hidden_layers=2,
        ffn_dim=64,
        num_attention_heads=4,
        hidden_size=32,
        num_codebooks=4 * channels,
        audio_channels=channels,
        pad_token_id=64,
        bos_token_id=64,
        max_position_embeddings=512,
    )
    config = MusicgenConfig(
        text_encoder=text.to_dict(), audio_encoder=codec.to_dict(), decoder=decoder.to_dict()
    )
    model = MusicgenForConditionalGeneration(config).eval()
    for name, value in model.named_parameters():
        if name.startswith(("decoder", "enc_to_dec_proj")) and value.ndim > 1:
            value.data.mul_(8)
    for level in model.audio_encoder.quantizer.layers:
        level.codebook.embed.normal_()
    settings = model.generation_config
    settings.pad_token_id = settings.bos_token_id = settings.decoder_start_token_id = 64
    settings.max_length = 1500
    return model


@torch.no_grad()
def generate(theirs, tokens, mask, frames: int, wave=None) -> tuple[np.ndarray, np.ndarray]:
    """(codes [B, T, Q], waveforms [B, channels, samples]) of a greedy, guided generation.

    tokens, mask: [B, S]. wave: [B, channels, samples] that goes on by so many frames.
    """
    decode, codes = theirs.audio_encoder.decode, []

    def spy(ids, **options):
        codes.append(ids[0].numpy().transpose(0, 2, 1))
        return decode(ids, **options)

    inputs = {}
    if wave is not None:
        padding = torch.ones(len(wave), 1, wave.shape[-1], dtype=torch.bool)
        inputs = {"input_values": torch.tensor(wave), "padding_mask": padding}
    theirs.audio_encoder.decode = spy
    waves = theirs.generate(
        input_ids=torch.tensor(tokens),
        attention_mask=torch.tensor(mask).long(),
        do_sample=False,
        guidance_scale=3.0,
        max_new_tokens=frames + 3,
        **inputs,
    )
    theirs.audio_encoder.decode = decode
    if len(codes) == 1:
        return codes[0], waves.numpy()
    # The channels' levels in turn.
    return np.stack(codes, -1).reshape(*codes[0].shape[:2], -1), waves.numpy()
