"""transformers' T5Config, VitsConfig and GPT2Config, and diffusers' projection model."""

from __future__ import annotations

from audioldm2_jax.checkpoints.configs.reading import DIFFUSERS, filled, require
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import GPT2Config, PhonemeConfig, ProjectionConfig, T5Config


def read_t5(config: dict, where: str) -> T5Config:
    full = filled("T5Config", config)
    require(full.to_dict(), where, feed_forward_proj="gated-gelu")
    return T5Config(
        vocab=full.vocab_size,
        width=full.d_model,
        depth=full.num_layers,
        heads=full.num_heads,
        head_width=full.d_kv,
        hidden=full.d_ff,
        buckets=full.relative_attention_num_buckets,
        distance=full.relative_attention_max_distance,
        eps=full.layer_norm_epsilon,
    )


def write_t5(config: T5Config) -> dict:
    return {
        "architectures": ["T5EncoderModel"],
        "model_type": "t5",
        "vocab_size": config.vocab,
        "d_model": config.width,
        "num_layers": config.depth,
        "num_heads": config.heads,
        "d_kv": config.head_width,
        "d_ff": config.hidden,
        "relative_attention_num_buckets": config.buckets,
        "relative_attention_max_distance": config.distance,
        "layer_norm_epsilon": config.eps,
        "feed_forward_proj": "gated-gelu",
        "decoder_start_token_id": 0,
    }


def read_phonemes(config: dict, where: str) -> PhonemeConfig:
    full = filled("VitsConfig", config)
    require(full.to_dict(), where, hidden_act="relu", use_bias=True)
    return PhonemeConfig(
        vocab=full.vocab_size,
        width=full.hidden_size,
        depth=full.num_hidden_layers,
        heads=full.num_attention_heads,
        hidden=full.ffn_dim,
        kernel=full.ffn_kernel_size,
        window=full.window_size,
        eps=full.layer_norm_eps,
    )


def write_phonemes(config: PhonemeConfig) -> dict:
    return {
        "architectures": ["VitsModel"],
        "model_type": "vits",
        "vocab_size": config.vocab,
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "ffn_dim": config.hidden,
        "ffn_kernel_size": config.kernel,
        "window_size": config.window,
        "layer_norm_eps": config.eps,
        "hidden_act": "relu",
        "pad_token_id": 0,
    }


def read_gpt2(config: dict, where: str) -> GPT2Config:
    full = filled("GPT2Config", config)
    require(
        full.to_dict(),
        where,
        activation_function="gelu_new",
        scale_attn_weights=True,
        scale_attn_by_inverse_layer_idx=False,
        add_cross_attention=False,
    )
    return GPT2Config(
        vocab=full.vocab_size,
        width=full.n_embd,
        depth=full.n_layer,
        heads=full.n_head,
        hidden=full.n_inner or 4 * full.n_embd,
        positions=full.n_positions,
        eps=full.layer_norm_epsilon,
        tokens=config.get("max_new_tokens") or GPT2Config.tokens,
    )


def write_gpt2(config: GPT2Config) -> dict:
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocab,
        "n_embd": config.width,
        "n_layer": config.depth,
        "n_head": config.heads,
        "n_inner": config.hidden,
        "n_positions": config.positions,
        "layer_norm_epsilon": config.eps,
        "activation_function": "gelu_new",
        "max_new_tokens": config.tokens,
        "bos_token_id": config.vocab - 1,
        "eos_token_id": config.vocab - 1,
    }


def read_projection(config: dict, where: str) -> ProjectionConfig:
    names = ("text_encoder_dim", "text_encoder_1_dim", "langauge_model_dim")
    missing = [name for name in names if name not in config]
    if missing:
        raise InputError(f"{where}: {missing[0]} is missing")
    learned = config.get("use_learned_position_embedding")
    if learned is not None and not config.get("max_seq_length"):
        raise InputError(
            f"{where}: max_seq_length is missing beside use_learned_position_embedding"
        )
    positions = config["max_seq_length"] if learned is not None else 0
    return ProjectionConfig(*(config[name] for name in names), positions)


def write_projection(config: ProjectionConfig) -> dict:
    learned = {"use_learned_position_embedding": True, "max_seq_length": config.positions}
    return {
        "_class_name": "AudioLDM2ProjectionModel",
        "_diffusers_version": DIFFUSERS,
        "text_encoder_dim": config.clap_width,
        "text_encoder_1_dim": config.text_width,
        # The reference's own spelling.
        "langauge_model_dim": config.width,
        **(learned if config.positions else {}),
    }
