"""MusicGen's language model: transformers' MusicgenForCausalLM, with the text's projection.

The names are those of the whole model, MusicgenForConditionalGeneration.
"""

from __future__ import annotations

import jax.numpy as jnp

from audioldm2_jax.checkpoints.config_entries import (
    DEPTH,
    ROWS,
    WIDTH,
    Entries,
    heads_of,
    require,
    transformers_entries,
)
from audioldm2_jax.checkpoints.convert import EMBEDDING, LINEAR, NORM, Rule, Table
from audioldm2_jax.checkpoints.parts.base import TRANSFORMERS_FILE, Part, PartFiles
from audioldm2_jax.checkpoints.parts.blocks import attention_rules
from audioldm2_jax.models.layers import ACTIVATIONS
from audioldm2_jax.models.musicgen import MusicGenLM
from audioldm2_jax.presets import MusicGenLMConfig

# The whole model's files, beside the section of config.json.
_MODEL, _GENERATION = "config.json", "generation_config.json"


def read_config(files: PartFiles) -> MusicGenLMConfig:
    """transformers' MusicgenDecoderConfig. Raises InputError."""
    entries = transformers_entries("MusicgenDecoderConfig", files.content, files.where)
    require(entries.content, files.where, cross_attention_hidden_size=None)
    codebook = entries.integer("vocab_size", None, high=ROWS)
    require(entries.content, files.where, pad_token_id=codebook)
    channels = entries.integer("audio_channels", 1, high=2)
    levels = entries.integer("num_codebooks", None, high=64)
    if levels % channels:
        entries.refuse("num_codebooks", f"a multiple of audio_channels, {channels},")
    width = entries.integer("hidden_size", None)
    if width % 2:
        entries.refuse("hidden_size", "an even number")
    text = Entries(files.beside.get(_MODEL, {}).get("text_encoder", {}), f"{_MODEL}: text_encoder")
    generation = Entries(files.beside.get(_GENERATION, {}), _GENERATION)
    return MusicGenLMConfig(
        codebook=codebook,
        levels=levels,
        channels=channels,
        width=width,
        depth=entries.integer("num_hidden_layers", None, high=DEPTH),
        heads=heads_of(entries, "num_attention_heads", "hidden_size"),
        hidden=entries.integer("ffn_dim", None, high=4 * WIDTH),
        text_width=text.integer("d_model", MusicGenLMConfig.text_width),
        activation=entries.choice("activation_function", "gelu", tuple(ACTIVATIONS)),
        positions=entries.integer("max_position_embeddings", None, high=ROWS),
        window=generation.integer("max_length", MusicGenLMConfig.window, 8, 1 << 16),
    )


def write_config(config: MusicGenLMConfig) -> PartFiles:
    """The inverse of `read_config`."""
    content = {
        "architectures": ["MusicgenForCausalLM"],
        "model_type": "musicgen_decoder",
        "vocab_size": config.codebook,
        "num_codebooks": config.levels,
        "audio_channels": config.channels,
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "ffn_dim": config.hidden,
        "activation_function": config.activation,
        "max_position_embeddings": config.positions,
        "pad_token_id": config.pad,
        "bos_token_id": config.pad,
    }
    generation = {
        "bos_token_id": config.pad,
        "decoder_start_token_id": config.pad,
        "pad_token_id": config.pad,
        "do_sample": True,
        "guidance_scale": 3.0,
        "max_length": config.window,
    }
    model = {"text_encoder": {"d_model": config.text_width}}
    return PartFiles(
        content, kind="MusicgenForCausalLM", beside={_MODEL: model, _GENERATION: generation}
    )


def table(config: MusicGenLMConfig) -> Table:
    """The names in the whole model's file."""
    layer, block = "decoder.model.decoder.layers.{}", "decoder/blocks_{}"
    names = ("q_proj", "k_proj", "v_proj", "out_proj")
    rules = (
        Rule("decoder.model.decoder.embed_tokens.{}", "tokens_{}", EMBEDDING),
        Rule(f"{layer}.self_attn_layer_norm", f"{block}/norm_attention", NORM),
        *attention_rules(f"{layer}.self_attn", f"{block}/attention", names),
        Rule(f"{layer}.encoder_attn_layer_norm", f"{block}/norm_cross", NORM),
        *attention_rules(f"{layer}.encoder_attn", f"{block}/cross", names),
        Rule(f"{layer}.final_layer_norm", f"{block}/norm_mlp", NORM),
        Rule(f"{layer}.fc1", f"{block}/mlp/up", LINEAR),
        Rule(f"{layer}.fc2", f"{block}/mlp/down", LINEAR),
        Rule("decoder.model.decoder.layer_norm", "decoder/norm", NORM),
        Rule("decoder.lm_heads.{}", "heads_{}", LINEAR),
        Rule("enc_to_dec_proj", "context", LINEAR),
    )
    # Older files hold the sinusoids.
    return Table(rules, ignored=(r"decoder\.model\.decoder\.embed_positions\.weights",))


PART = Part(
    name="musicgen_lm",
    folder="language_model",
    classes={"MusicgenForCausalLM": "transformers"},
    weights=TRANSFORMERS_FILE,
    model=MusicGenLM,
    inputs=lambda config: (
        jnp.zeros((1, 1, config.levels), jnp.int32),
        jnp.zeros((1, 2, config.text_width)),
        jnp.ones((1, 2), bool),
    ),
    read=read_config,
    write=write_config,
    table=table,
    beside=(_MODEL, _GENERATION),
)
