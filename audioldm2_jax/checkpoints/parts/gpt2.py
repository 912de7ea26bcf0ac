"""GPT-2, which rolls out the language of audio: transformers' GPT2LMHeadModel."""

from __future__ import annotations

import jax.numpy as jnp

from audioldm2_jax.checkpoints.config_entries import (
    DEPTH,
    ROWS,
    WIDTH,
    heads_of,
    require,
    transformers_entries,
)
from audioldm2_jax.checkpoints.convert import (
    EMBEDDING,
    LINEAR_IN_OUT,
    NORM,
    PLAIN,
    Rule,
    Table,
)
from audioldm2_jax.checkpoints.parts.base import (
    TRANSFORMERS_FILE,
    AuthorsPart,
    Part,
    PartFiles,
    token_ids,
)
from audioldm2_jax.checkpoints.parts.blocks import qkv
from audioldm2_jax.checkpoints.parts.shapes import Shapes
from audioldm2_jax.models.gpt2 import GPT2, empty_cache
from audioldm2_jax.presets import GPT2Config


def read_config(files: PartFiles) -> GPT2Config:
    """transformers' GPT2Config. Raises InputError."""
    entries = transformers_entries("GPT2Config", files.content, files.where)
    require(
        entries.content,
        files.where,
        activation_function="gelu_new",
        scale_attn_weights=True,
        scale_attn_by_inverse_layer_idx=False,
        add_cross_attention=False,
    )
    width = entries.integer("n_embd", None)
    return GPT2Config(
        vocab=entries.integer("vocab_size", None, high=ROWS),
        width=width,
        depth=entries.integer("n_layer", None, high=DEPTH),
        heads=heads_of(entries, "n_head", "n_embd"),
        hidden=entries.integer("n_inner", 4 * width, high=4 * WIDTH),
        positions=entries.integer("n_positions", None, high=ROWS),
        eps=entries.number("layer_norm_epsilon", 1e-5, high=1),
        tokens=entries.integer("max_new_tokens", GPT2Config.tokens, high=1 << 16),
    )


def write_config(config: GPT2Config) -> PartFiles:
    """The inverse of `read_config`, as GPT2LMHeadModel, the class that diffusers uses."""
    content = {
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
    return PartFiles(content, kind="GPT2LMHeadModel")


_BLOCK = "transformer.h.{}"

TABLE = Table(
    rules=(
        Rule("transformer.wte.weight", "tokens", PLAIN),
        Rule("transformer.wpe", "positions", EMBEDDING),
        Rule(f"{_BLOCK}.ln_1", "blocks_{}/norm_attention", NORM),
        Rule(f"{_BLOCK}.attn.c_attn", qkv("blocks_{}/attention"), LINEAR_IN_OUT),
        Rule(f"{_BLOCK}.attn.c_proj", "blocks_{}/attention/out", LINEAR_IN_OUT),
        Rule(f"{_BLOCK}.ln_2", "blocks_{}/norm_mlp", NORM),
        Rule(f"{_BLOCK}.mlp.c_fc", "blocks_{}/mlp/up", LINEAR_IN_OUT),
        Rule(f"{_BLOCK}.mlp.c_proj", "blocks_{}/mlp/down", LINEAR_IN_OUT),
        Rule("transformer.ln_f", "norm", NORM),
    ),
    renames=((r"^(wte|wpe|h|ln_f)\.", r"transformer.\1."),),
    # Causal masks of old versions; the head is tied to the token embedding.
    ignored=(r".*\.attn\.(masked_)?bias", r"lm_head\.weight"),
)


def read_shapes(shapes: Shapes) -> GPT2Config:
    """The configuration of an authors' file."""
    vocab, width = shapes["wte.weight"]
    return GPT2Config(
        vocab=vocab,
        width=width,
        depth=shapes.count("h.{}."),
        heads=shapes.heads(width, 64),
        hidden=shapes["h.0.mlp.c_fc.weight"][1],
        positions=shapes["wpe.weight"][0],
    )


def _inputs(config: GPT2Config) -> tuple:
    embeddings = jnp.zeros((1, 4, config.width))
    return embeddings, token_ids(), empty_cache(config, 1, 4), 0, token_ids()


PART = Part(
    name="gpt2",
    folder="language_model",
    classes={"GPT2LMHeadModel": "transformers", "GPT2Model": "transformers"},
    weights=TRANSFORMERS_FILE,
    model=GPT2,
    inputs=_inputs,
    read=read_config,
    write=write_config,
    table=lambda config: TABLE,
    # The authors' files keep the names of GPT2Model.
    authors=AuthorsPart(
        mark="wte.weight",
        partner="wpe.weight",
        table=lambda config: TABLE,
        read_shapes=read_shapes,
    ),
)
