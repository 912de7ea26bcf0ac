"""Residual quantisers give the codes and the latents of transformers' EnCodec, DAC and Mimi."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from reference import assert_close
from transformers import DacConfig, EncodecConfig, MimiConfig
from transformers.models.dac.modeling_dac import DacResidualVectorQuantizer
from transformers.models.encodec.modeling_encodec import EncodecResidualVectorQuantizer
from transformers.models.mimi.modeling_mimi import MimiSplitResidualVectorQuantizer

from audioldm2_jax.models.codecs.quantizer import Codebook, ResidualQuantizer, SplitQuantizer

LATENTS = np.random.default_rng(0).standard_normal((2, 11, 8)).astype(np.float32)
THEIRS = torch.tensor(LATENTS).swapaxes(1, 2)


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def matrix(layer):
    return layer.weight.detach().numpy()[..., 0].T


def check(model, params, codes, latents, levels):
    """codes [Q, B, T], latents [B, D, T]: the reference's of `levels` levels."""

    @jax.jit
    def both(params):
        ours = model.apply({"params": params}, LATENTS, levels, method="encode")
        return ours, model.apply({"params": params}, ours, method="decode")

    ours, decoded = both(params)
    assert ours.dtype == jnp.int32
    np.testing.assert_array_equal(ours, codes.permute(1, 2, 0))
    assert_close(decoded, latents.detach().swapaxes(1, 2))


@pytest.mark.parametrize("bandwidth, levels", [(1.5, 2), (24.0, None)])
def test_encodec(bandwidth, levels):
    config = EncodecConfig(hidden_size=8, codebook_size=32, target_bandwidths=[1.5, 24.0])
    config.upsampling_ratios = [8, 10, 5]
    module = EncodecResidualVectorQuantizer(config)
    module.layers = module.layers[:4]
    params = {}
    for i, layer in enumerate(module.layers):
        layer.codebook.embed = draw(32, 8, seed=i) / (i + 1)
        params[f"levels_{i}"] = {"codebook": {"embedding": layer.codebook.embed.numpy()}}
    codes = module.encode(THEIRS, 0.6 if levels else None)
    model = ResidualQuantizer(4, 32, 8, 8)
    check(model, params, codes, module.decode(codes), levels)


@pytest.mark.parametrize("levels", [1, None])
def test_dac(levels):
    module = DacResidualVectorQuantizer(
        DacConfig(n_codebooks=3, codebook_dim=4, hidden_size=8, codebook_size=32)
    ).eval()
    params = {}
    for i, layer in enumerate(module.quantizers):
        params[f"levels_{i}"] = {
            "codebook": {"embedding": layer.codebook.weight.detach().numpy()},
            "project_in": {"kernel": matrix(layer.in_proj), "bias": layer.in_proj.bias.detach()},
            "project_out": {"kernel": matrix(layer.out_proj), "bias": layer.out_proj.bias.detach()},
        }
    params = {k: {n: {m: np.asarray(x) for m, x in w.items()} for n, w in v.items()}
              for k, v in params.items()}  # fmt: skip
    latents, codes, *_ = module(THEIRS, levels)
    model = ResidualQuantizer(3, 32, 4, 8, normalized=True)
    check(model, params, codes.swapaxes(0, 1), latents, levels)


@pytest.mark.parametrize("levels", [1, 3, None])
def test_mimi(levels):
    module = MimiSplitResidualVectorQuantizer(
        MimiConfig(
            num_quantizers=4,
            hidden_size=8,
            vector_quantization_hidden_dimension=4,
            codebook_dim=4,
            codebook_size=32,
        )
    )
    params = {}
    for name in ("semantic", "acoustic"):
        part = getattr(module, f"{name}_residual_vector_quantizer")
        params[f"{name}_levels"] = side = {
            "project_in": {"kernel": matrix(part.input_proj)},
            "project_out": {"kernel": matrix(part.output_proj)},
        }
        for i, layer in enumerate(part.layers):
            layer.codebook.embed_sum = draw(32, 4, seed=i) / (i + 1)
            side[f"levels_{i}"] = {"codebook": {"embedding": layer.codebook.embed_sum.numpy()}}
    codes = module.encode(THEIRS, levels)
    latents = module.decode(codes.swapaxes(0, 1))
    check(SplitQuantizer(4, 32, 4, 8), params, codes, latents, levels)


def test_of_equal_vectors_the_first_is_the_nearest():
    table = np.zeros((5, 2), np.float32)
    table[[1, 3]] = 1
    codes = Codebook(5, 2).apply(
        {"params": {"embedding": table}}, jnp.ones((1, 3, 2)), method="nearest"
    )
    np.testing.assert_array_equal(codes, [[1, 1, 1]])
