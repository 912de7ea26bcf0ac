"""transformers' T5EncoderModel, VitsModel, GPT2Model, and diffusers' projection model."""

from audioldm2_jax.checkpoints.convert import (
    CONV1D,
    EMBEDDING,
    LINEAR,
    NORM,
    PLAIN,
    TURNED_UNSQUEEZED,
    UNSQUEEZED,
    UNTURNED,
    Rule,
    Table,
)

_T5, _GPT2 = "encoder.block.{}.layer", "transformer.h.{}"
_QKV = tuple(f"blocks_{{}}/attention/{name}" for name in ("query", "key", "value"))

T5 = Table(
    rules=(
        Rule("shared", "tokens", EMBEDDING),
        Rule(
            "encoder.block.0.layer.0.SelfAttention.relative_attention_bias", "positions", EMBEDDING
        ),
        *(
            Rule(f"{_T5}.0.SelfAttention.{there}", f"blocks_{{}}/attention/{here}", LINEAR)
            for there, here in (("q", "query"), ("k", "key"), ("v", "value"), ("o", "out"))
        ),
        Rule(f"{_T5}.0.layer_norm", "blocks_{}/norm_attention", NORM),
        Rule(f"{_T5}.1.DenseReluDense.wi_0", "blocks_{}/mlp/gate", LINEAR),
        Rule(f"{_T5}.1.DenseReluDense.wi_1", "blocks_{}/mlp/up", LINEAR),
        Rule(f"{_T5}.1.DenseReluDense.wo", "blocks_{}/mlp/down", LINEAR),
        Rule(f"{_T5}.1.layer_norm", "blocks_{}/norm_mlp", NORM),
        Rule("encoder.final_layer_norm", "norm", NORM),
    ),
    # The embedding is stored once or twice; whole T5 files hold a decoder and a head besides.
    renames=((r"^encoder\.embed_tokens\.", "shared."),),
    ignored=(r"decoder\..*", r"lm_head\..*"),
)

GPT2 = Table(
    # Exported as GPT2LMHeadModel, the class with which diffusers works.
    rules=(
        Rule("transformer.wte.weight", "tokens", PLAIN),
        Rule("transformer.wpe", "positions", EMBEDDING),
        Rule(f"{_GPT2}.ln_1", "blocks_{}/norm_attention", NORM),
        Rule(f"{_GPT2}.attn.c_attn", _QKV, UNTURNED),
        Rule(f"{_GPT2}.attn.c_proj", "blocks_{}/attention/out", UNTURNED),
        Rule(f"{_GPT2}.ln_2", "blocks_{}/norm_mlp", NORM),
        Rule(f"{_GPT2}.mlp.c_fc", "blocks_{}/mlp/up", UNTURNED),
        Rule(f"{_GPT2}.mlp.c_proj", "blocks_{}/mlp/down", UNTURNED),
        Rule("transformer.ln_f", "norm", NORM),
    ),
    renames=((r"^(wte|wpe|h|ln_f)\.", r"transformer.\1."),),
    # Causal masks of old versions; the head is tied to the token embedding.
    ignored=(r".*\.attn\.(masked_)?bias", r"lm_head\.weight"),
)

PROJECTION = Table(
    rules=(
        Rule("projection", "clap", LINEAR),
        Rule("projection_1", "text", LINEAR),
        Rule("sos_embed", "clap_start", PLAIN),
        Rule("eos_embed", "clap_end", PLAIN),
        Rule("sos_embed_1", "text_start", PLAIN),
        Rule("eos_embed_1", "text_end", PLAIN),
        Rule("learnable_positional_embedding", "positions", TURNED_UNSQUEEZED),
    )
)

_VITS = "text_encoder.encoder.layers.{}"

PHONEMES = Table(
    rules=(
        Rule("text_encoder.embed_tokens", "tokens", EMBEDDING),
        *(
            Rule(f"{_VITS}.attention.{there}_proj", f"blocks_{{}}/attention/{here}", LINEAR)
            for there, here in (("q", "query"), ("k", "key"), ("v", "value"), ("out", "out"))
        ),
        Rule(f"{_VITS}.attention.emb_rel_k", "blocks_{}/attention/distance_keys", UNSQUEEZED),
        Rule(f"{_VITS}.attention.emb_rel_v", "blocks_{}/attention/distance_values", UNSQUEEZED),
        Rule(f"{_VITS}.layer_norm", "blocks_{}/norm_attention", NORM),
        Rule(f"{_VITS}.feed_forward.conv_1", "blocks_{}/mlp_up", CONV1D),
        Rule(f"{_VITS}.feed_forward.conv_2", "blocks_{}/mlp_down", CONV1D),
        Rule(f"{_VITS}.final_layer_norm", "blocks_{}/norm_mlp", NORM),
    ),
    # AudioLDM 2 reads the hidden states; the rest of VITS is its own speech synthesiser.
    ignored=(
        r"text_encoder\.project\..*",
        r"(flow|decoder|duration_predictor|posterior_encoder|embed_speaker)\..*",
    ),
)
