"""The decoder against transformers' T5, MusicGen and Llama; a cached pass is the whole one."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import torch
from reference import assert_close, params_of
from transformers import LlamaConfig, LlamaModel, MusicgenDecoderConfig, T5Config
from transformers.models.musicgen.modeling_musicgen import MusicgenDecoder
from transformers.models.t5.modeling_t5 import T5Attention, T5Stack

from audioldm2_jax.checkpoints.convert import EMBEDDING, LINEAR, NORM, Rule, Table
from audioldm2_jax.checkpoints.parts.blocks import attention_rules
from audioldm2_jax.models.decoder import Decoder, grow_cache, merge_products
from audioldm2_jax.models.t5 import distance_buckets
from audioldm2_jax.presets import DecoderConfig

TINY = DecoderConfig(width=32, depth=2, heads=4, head_width=8, hidden=48, buckets=8, distance=16)
T5 = dataclasses.replace(TINY, gated=True, scale=1.0, cross=True)
LLAMA = dataclasses.replace(TINY, positions="rope", gated=True, activation="silu")
MUSICGEN = dataclasses.replace(
    TINY, positions="sinusoidal", norm="layer", eps=1e-5, activation="gelu", cross=True
)
SCHEMES = {"relative": T5, "rope": LLAMA, "sinusoidal": MUSICGEN}


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def with_context(decoder, x, context, context_mask=None):
    """The whole pass. context: [B, S, C] or None."""
    kv = None if context is None else decoder.kv(context)
    return decoder(x, context=kv, context_mask=context_mask)[0]


def t5():
    config = T5Config(
        vocab_size=8,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        is_decoder=True,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=16,
    )
    config.is_decoder = True
    block = "block.{}.layer"
    bias = "block.0.layer.0.SelfAttention.relative_attention_bias"
    names = ("q", "k", "v", "o")
    rules = (
        Rule(bias, "positions", EMBEDDING),
        *attention_rules(f"{block}.0.SelfAttention", "blocks_{}/attention", names),
        Rule(f"{block}.0.layer_norm", "blocks_{}/norm_attention", NORM),
        *attention_rules(f"{block}.1.EncDecAttention", "blocks_{}/cross", names),
        Rule(f"{block}.1.layer_norm", "blocks_{}/norm_cross", NORM),
        Rule(f"{block}.2.DenseReluDense.wi_0", "blocks_{}/mlp/gate", LINEAR),
        Rule(f"{block}.2.DenseReluDense.wi_1", "blocks_{}/mlp/up", LINEAR),
        Rule(f"{block}.2.DenseReluDense.wo", "blocks_{}/mlp/down", LINEAR),
        Rule(f"{block}.2.layer_norm", "blocks_{}/norm_mlp", NORM),
        Rule("final_layer_norm", "norm", NORM),
    )
    module = reference.healthy(T5Stack(config)).eval()
    return module, Table(rules, ignored=(r"embed_tokens.*",))


def musicgen():
    config = MusicgenDecoderConfig(
        vocab_size=8,
        num_hidden_layers=2,
        hidden_size=32,
        ffn_dim=48,
        num_attention_heads=4,
        num_codebooks=1,
        pad_token_id=8,
        bos_token_id=8,
    )
    block, names = "layers.{}", ("q_proj", "k_proj", "v_proj", "out_proj")
    rules = (
        *attention_rules(f"{block}.self_attn", "blocks_{}/attention", names),
        Rule(f"{block}.self_attn_layer_norm", "blocks_{}/norm_attention", NORM),
        *attention_rules(f"{block}.encoder_attn", "blocks_{}/cross", names),
        Rule(f"{block}.encoder_attn_layer_norm", "blocks_{}/norm_cross", NORM),
        Rule(f"{block}.fc1", "blocks_{}/mlp/up", LINEAR),
        Rule(f"{block}.fc2", "blocks_{}/mlp/down", LINEAR),
        Rule(f"{block}.final_layer_norm", "blocks_{}/norm_mlp", NORM),
        Rule("layer_norm", "norm", NORM),
    )
    module = reference.healthy(MusicgenDecoder(config)).eval()
    return module, Table(rules, ignored=(r"embed_.*",))


def llama():
    config = LlamaConfig(
        vocab_size=8,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        head_dim=8,
    )
    block, names = "layers.{}", ("q_proj", "k_proj", "v_proj", "o_proj")
    rules = (
        *attention_rules(f"{block}.self_attn", "blocks_{}/attention", names),
        Rule(f"{block}.input_layernorm", "blocks_{}/norm_attention", NORM),
        Rule(f"{block}.mlp.gate_proj", "blocks_{}/mlp/gate", LINEAR),
        Rule(f"{block}.mlp.up_proj", "blocks_{}/mlp/up", LINEAR),
        Rule(f"{block}.mlp.down_proj", "blocks_{}/mlp/down", LINEAR),
        Rule(f"{block}.post_attention_layernorm", "blocks_{}/norm_mlp", NORM),
        Rule("norm", "norm", NORM),
    )
    module = reference.healthy(LlamaModel(config)).eval()
    return module, Table(rules, ignored=(r"embed_tokens.*",))


@pytest.mark.parametrize(
    "config, theirs", [(T5, t5), (LLAMA, llama), (MUSICGEN, musicgen)], ids=list(SCHEMES)
)
def test_transformers(config, theirs):
    module, table = theirs()
    decoder, x = Decoder(config), draw(2, 20, 32)
    context = draw(2, 6, 32, seed=1) if config.cross else None
    params = params_of(module, table, decoder, x, context, method=with_context)
    if config.cross:
        mask = np.arange(6) < np.array([[6], [4]])
        inputs = {
            "encoder_hidden_states": torch.tensor(context),
            "encoder_attention_mask": torch.tensor(mask.astype(np.int64)),
        }
    else:
        mask, inputs = None, {}
    if config is MUSICGEN:
        # Its positions of `inputs_embeds` are all 0: it reads tokens.
        ids = torch.tensor(np.random.default_rng(2).integers(0, 9, (2, 20)))
        x, inputs["input_ids"] = module.embed_tokens[0](ids).numpy(force=True), ids
    else:
        inputs["inputs_embeds"] = torch.tensor(x)
    theirs = module(use_cache=False, **inputs).last_hidden_state
    run = jax.jit(lambda *a: decoder.apply({"params": params}, *a, method=with_context))
    assert_close(run(x, context, mask), theirs)


def test_buckets_are_t5s():
    distances = np.arange(3000)
    for buckets, distance in ((32, 128), (32, 256), (64, 512), (8, 16)):
        theirs = T5Attention._relative_position_bucket(
            torch.tensor(-distances), False, buckets, distance
        )
        np.testing.assert_array_equal(distance_buckets(distances, buckets, distance), theirs)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_cached_pass_is_the_whole_one(scheme):
    """Ragged prompts of 7 and 10 tokens, in caches of two sizes, at every position."""
    config = SCHEMES[scheme]
    decoder, x = Decoder(config), draw(2, 24, 32)
    context = draw(2, 6, 32, seed=1) if config.cross else None
    init = functools.partial(decoder.init, jax.random.key(0), method=with_context)
    shapes = jax.eval_shape(init, x, context)["params"]
    redrawn = [draw(*leaf.shape, seed=i) for i, leaf in enumerate(jax.tree.leaves(shapes))]
    redrawn = [y / len(y) ** 0.5 if y.ndim == 2 else 1 + 0.1 * y for y in redrawn]
    params = jax.tree.unflatten(jax.tree.structure(shapes), redrawn)
    apply = jax.jit(decoder.apply, static_argnames="method")
    kv = apply({"params": params}, context, method="kv") if config.cross else None
    # Row 1 begins three tokens later; what follows its sequence changes nothing.
    rows = np.stack([x[0], np.roll(x[1], -3, 0)])
    whole = apply({"params": params}, rows, context=kv)[0]
    starts = jnp.array([0, 3])
    first, short = apply({"params": params}, x[:, :10], starts=starts, context=kv)
    merged = {"params": merge_products(params)}
    for slots, variables in ((24, {"params": params}), (32, merged)):
        states, cache = [first], grow_cache(short, slots)
        for slot in range(10, 24):
            y, cache = apply(variables, x[:, slot : slot + 1], cache, slot, starts, kv)
            states.append(y)
        states = np.concatenate(states, 1)
        assert_close(states[0], whole[0])
        assert_close(states[1, 3:], whole[1, :-3])
