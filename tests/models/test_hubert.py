"""HuBERT agrees with transformers' HubertModel on random weights."""

import jax
import numpy as np
import pytest
import torch
from reference import assert_close, healthy, params_of, state
from transformers import HubertConfig, HubertModel

from audioldm2_jax.checkpoints.convert import from_params, to_params
from audioldm2_jax.checkpoints.parts import PARTS, PartFiles
from audioldm2_jax.checkpoints.parts import hubert as part
from audioldm2_jax.checkpoints.parts.shapes import Shapes
from audioldm2_jax.checkpoints.weights import ArrayReader, Weights
from audioldm2_jax.errors import InputError

SMALL = dict(
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=1,
    intermediate_size=48,
    conv_dim=[16] * 7,
    num_conv_pos_embeddings=16,
    num_conv_pos_embedding_groups=4,
)
LARGE = dict(feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True)
KINDS = {"base": {}, "large": LARGE}
WAVE = np.random.default_rng(0).standard_normal((2, 4400)).astype(np.float32)


def reference(kind):
    return healthy(HubertModel(HubertConfig(**SMALL | KINDS[kind])))


def config_of(module):
    return part.read_config(PartFiles(module.config.to_dict()))


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_states(kind):
    """Every layer; and a clip's own frames, whatever it is padded to."""
    module = reference(kind)
    config = config_of(module)
    model = PARTS["hubert"].model(config)
    params = params_of(module, part.table(config), model, WAVE)

    @jax.jit
    def run(wave, lengths):
        layers = (0, 1, 2, None)
        return [model.apply({"params": params}, wave, lengths, layer) for layer in layers]

    for wave, lengths in ((WAVE, None), (WAVE, np.array([4400, 3000]))):
        ours = run(wave, lengths)
        for row in range(2):
            clip = torch.tensor(wave[row : row + 1, : None if lengths is None else lengths[row]])
            if config.normalize:
                clip = (clip - clip.mean()) / torch.sqrt(clip.var(unbiased=False) + 1e-7)
            with torch.no_grad():
                theirs = module(clip, output_hidden_states=True)
            for x, y in zip(ours, (*theirs.hidden_states, theirs.last_hidden_state)):
                assert_close(x[row : row + 1, : y.shape[1]], y)
    assert config.normalize == (kind == "large")


FAIRSEQ = (
    (".layer_norm.", ".self_attn_layer_norm."),
    ("feature_projection.self_attn_layer_norm.", "layer_norm."),
    ("encoder.self_attn_layer_norm.", "encoder.layer_norm."),
    (".attention.", ".self_attn."),
    (".feed_forward.intermediate_dense.", ".fc1."),
    (".feed_forward.output_dense.", ".fc2."),
    ("feature_projection.projection.", "post_extract_proj."),
    ("masked_spec_embed", "mask_emb"),
    ("encoder.pos_conv_embed.conv.", "encoder.pos_conv.0."),
    ("parametrizations.weight.original0", "weight_g"),
    ("parametrizations.weight.original1", "weight_v"),
)


def fairseq_names(tensors, kind):
    """A state dict as fairseq names it."""
    inner = ".2.1." if kind == "large" else ".2."
    renamed = {}
    for name, value in tensors.items():
        if name.startswith("feature_extractor"):
            new = name.replace(".conv.", ".0.").replace(".layer_norm.", inner)
        else:
            new = name
            for ours, theirs in FAIRSEQ:
                new = new.replace(ours, theirs)
        renamed[new] = value
    return renamed | {"label_embs_concat": np.ones((4, 3)), "final_proj.bias": np.ones(3)}


@pytest.mark.parametrize("kind", KINDS)
def test_files(kind):
    """Both of transformers' namings and fairseq's give the same; and it is written back."""
    module = reference(kind)
    config, tensors = config_of(module), state(module)
    table, like = part.table(config), PARTS["hubert"].shapes(config_of(module))
    params = to_params(tensors, table, like)
    back = from_params(params, table, config)
    assert back.keys() == tensors.keys()
    assert all(np.array_equal(back[name], tensors[name]) for name in tensors)
    old = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for name, value in tensors.items()
    }
    authors = fairseq_names(tensors, kind)
    for other in ({f"hubert.{k}": v for k, v in old.items()}, authors):
        assert jax.tree.all(jax.tree.map(np.array_equal, to_params(other, table, like), params))
    source = Weights({name: ArrayReader(value) for name, value in authors.items()})
    assert part.read_shapes(Shapes(source, "hubert.pt")) == config
    written = part.write_config(config)
    assert part.read_config(written) == config
    HubertModel(HubertConfig(**written.content)).load_state_dict(
        {name: torch.tensor(value) for name, value in back.items()}
    )


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("conv_kernel", [10, 3]),
        ("num_conv_pos_embedding_groups", 5),
        ("feat_extract_norm", "batch"),
        ("conv_pos_batch_norm", True),
        ("num_attention_heads", 7),
        ("conv_stride", [0] * 7),
    ],
)
def test_refused(entry, value):
    with pytest.raises(InputError, match=entry):
        part.read_config(PartFiles(SMALL | {entry: value}))
