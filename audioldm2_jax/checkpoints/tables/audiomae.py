"""timm's VisionTransformer and the authors' MaskedAutoencoderViT, named alike in the encoder."""

from audioldm2_jax.checkpoints.convert import CONV2D, LINEAR, NORM, PLAIN, Rule, Table

_QKV = tuple(f"blocks_{{}}/attention/{name}" for name in ("query", "key", "value"))

AUDIOMAE = Table(
    rules=(
        Rule("cls_token", "class_token", PLAIN),
        Rule("pos_embed", "positions", PLAIN),
        Rule("patch_embed.proj", "patch", CONV2D),
        Rule("blocks.{}.norm1", "blocks_{}/norm_attention", NORM),
        Rule("blocks.{}.attn.qkv", _QKV, LINEAR),
        Rule("blocks.{}.attn.proj", "blocks_{}/attention/out", LINEAR),
        Rule("blocks.{}.norm2", "blocks_{}/norm_mlp", NORM),
        Rule("blocks.{}.mlp.fc1", "blocks_{}/mlp/up", LINEAR),
        Rule("blocks.{}.mlp.fc2", "blocks_{}/mlp/down", LINEAR),
        Rule("norm", "norm", NORM),
    ),
    # timm names the final norm so where it pools before it.
    renames=((r"^fc_norm\.", "norm."),),
    # The decoder of the pre-training, and a classifier's head.
    ignored=(r"decoder_.*", r"mask_token", r"head\..*", r"log_softmax\..*"),
)
