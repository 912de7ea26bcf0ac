"""transformers' T5Config, VitsConfig and GPT2Config, and diffusers' projection model."""

from __future__ import annotations

from audioldm2_jax.checkpoints.configs.reading import (
    DEPTH,
    DIFFUSERS,
    ROWS,
    WIDTH,
    Entries,
    filled,
    heads_of,
    require,
)
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import GPT2Config, PhonemeConfig, ProjectionConfig, T5Config


def read_t5(config: dict, where: str) -> T5Config:
    full = filled("T5Config", config, where)
    require(full.content, where, feed_forward_proj="gated-gelu")
    buckets = full.whole("relative_attention_num_buckets", 32, 4)
    return T5Config(
        vocab=full.whole("vocab_size", None, high=ROWS),
        width=full.whole("d_model", None),
        depth=full.whole("num_layers", None, high=DEPTH),
        heads=full.whole("num_heads", None, high=1024),
        head_width=full.whole("d_kv", None),
        hidden=full.whole("d_ff", None, high=4 * WIDTH),
        buckets=buckets,
        distance=full.whole("relative_attention_max_distance", 128, buckets // 2 + 1),
        eps=full.number("layer_norm_epsilon", 1e-6, high=1),
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
    full = filled("VitsConfig", config, where)
    require(full.content, where, hidden_act="relu", use_bias=True)
    return PhonemeConfig(
        vocab=full.whole("vocab_size", None, high=ROWS),
        width=full.whole("hidden_size", None),
        depth=full.whole("num_hidden_layers", None, high=DEPTH),
        heads=heads_of(full, "num_attention_heads", "hidden_size"),
        hidden=full.whole("ffn_dim", None, high=4 * WIDTH),
        kernel=full.whole("ffn_kernel_size", None, high=64),
        window=full.whole("window_size", None, high=1024),
        eps=full.number("layer_norm_eps", 1e-5, high=1),
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
    full = filled("GPT2Config", config, where)
    require(
        full.content,
        where,
        activation_function="gelu_new",
        scale_attn_weights=True,
        scale_attn_by_inverse_layer_idx=False,
        add_cross_attention=False,
    )
    width = full.whole("n_embd", None)
    return GPT2Config(
        vocab=full.whole("vocab_size", None, high=ROWS),
        width=width,
        depth=full.whole("n_layer", None, high=DEPTH),
        heads=heads_of(full, "n_head", "n_embd"),
        hidden=full.whole("n_inner", 4 * width, high=4 * WIDTH),
        positions=full.whole("n_positions", None, high=ROWS),
        eps=full.number("layer_norm_epsilon", 1e-5, high=1),
        tokens=full.whole("max_new_tokens", GPT2Config.tokens, high=1 << 16),
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
    entries = Entries(config, where)
    names = ("text_encoder_dim", "text_encoder_1_dim", "langauge_model_dim")
    missing = [name for name in names if name not in config]
    if missing:
        raise InputError(f"{where}: {missing[0]} is missing")
    learned = config.get("use_learned_position_embedding")
    if learned is not None and not config.get("max_seq_length"):
        raise InputError(
            f"{where}: max_seq_length is missing beside use_learned_position_embedding"
        )
    positions = 0 if learned is None else entries.whole("max_seq_length", None, high=ROWS)
    return ProjectionConfig(*(entries.whole(name, None) for name in names), positions)


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
