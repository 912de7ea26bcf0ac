"""The vocoder, HiFi-GAN's generator: transformers' SpeechT5HifiGan."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from audioldm2_jax.checkpoints.config_entries import Entries, transformers_entries
from audioldm2_jax.checkpoints.convert import CONV1D, CONV1D_TRANSPOSE, PLAIN, Rule, Table
from audioldm2_jax.checkpoints.parts.base import (
    TRANSFORMERS_FILE,
    AuthorsPart,
    Part,
    PartFiles,
    named_classes,
)
from audioldm2_jax.checkpoints.parts.shapes import Shapes
from audioldm2_jax.checkpoints.weights import ArrayReader, Weights, fold_weight_norm
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.hifigan import HiFiGAN
from audioldm2_jax.presets import Convention, HiFiGANConfig

_CLASS = "SpeechT5HifiGan"
# {kernels of the upsampling layers: (their strides, sample rate in Hz)} of the authors' vocoders.
_AUTHORS_RATES = {
    (16, 16, 8, 4, 4): ((5, 4, 2, 2, 2), 16000),
    (12, 10, 8, 4, 4): ((6, 5, 4, 2, 2), 48000),
}


def read_config(files: PartFiles) -> HiFiGANConfig:
    """transformers' SpeechT5HifiGanConfig, and our own entries griffin_lim*. Raises InputError."""
    entries = transformers_entries("SpeechT5HifiGanConfig", files.content, files.where)
    rates = entries.integers("upsample_rates", high=64)
    kernels = entries.integers("upsample_kernel_sizes", high=256)
    if len(kernels) != len(rates) or any(k < r for k, r in zip(kernels, rates)):
        requirement = f"one size, not below the rate, for each of {rates}"
        entries.refuse("upsample_kernel_sizes", requirement)
    blocks = entries.integers("resblock_kernel_sizes", high=256)
    dilations = entries.get("resblock_dilation_sizes", [])
    if not isinstance(dilations, list) or len(dilations) != len(blocks):
        entries.refuse("resblock_dilation_sizes", "a list for each of resblock_kernel_sizes")
    inner = [Entries({"resblock_dilation_sizes": d}, files.where) for d in dilations]
    channels = entries.integer("upsample_initial_channel", None)
    if channels % 2 ** len(rates):
        entries.refuse("upsample_initial_channel", f"a multiple of {2 ** len(rates)}")
    return HiFiGANConfig(
        mels=entries.integer("model_in_dim", None, high=1024),
        sample_rate=entries.integer("sampling_rate", None, high=768_000),
        channels=channels,
        rates=rates,
        kernels=kernels,
        block_kernels=blocks,
        dilations=tuple(e.integers("resblock_dilation_sizes", high=1024) for e in inner),
        slope=entries.number("leaky_relu_slope", 0.1, high=1),
        normalize=entries.flag("normalize_before", True),
        griffin_lim=entries.integer("griffin_lim", 0, 0, 1000),
        griffin_lim_noise=entries.number("griffin_lim_noise", HiFiGANConfig.griffin_lim_noise),
    )


def interpret(config: HiFiGANConfig, files: PartFiles, convention: Convention) -> HiFiGANConfig:
    """Without Griffin-Lim under a convention that does not know it."""
    return config if convention.griffin_lim else dataclasses.replace(config, griffin_lim=0)


def write_config(config: HiFiGANConfig) -> PartFiles:
    """The inverse of `read_config`."""
    content = {
        "architectures": [_CLASS],
        "model_type": "speecht5_hifigan",
        "model_in_dim": config.mels,
        "sampling_rate": config.sample_rate,
        "upsample_initial_channel": config.channels,
        "upsample_rates": list(config.rates),
        "upsample_kernel_sizes": list(config.kernels),
        "resblock_kernel_sizes": list(config.block_kernels),
        "resblock_dilation_sizes": [list(d) for d in config.dilations],
        "leaky_relu_slope": config.slope,
        "normalize_before": config.normalize,
    }
    if config.griffin_lim:
        content["griffin_lim"] = config.griffin_lim
    if config.griffin_lim_noise != HiFiGANConfig.griffin_lim_noise:
        content["griffin_lim_noise"] = config.griffin_lim_noise
    return PartFiles(content, kind=_CLASS)


def _table(upsample: str) -> Table:
    """upsample: the name of the upsampling layers."""
    return Table(
        rules=(
            Rule("mean", "mean", PLAIN),
            Rule("scale", "scale", PLAIN),
            Rule("conv_pre", "conv_in", CONV1D),
            Rule(f"{upsample}.{{}}", "upsample_{}", CONV1D_TRANSPOSE),
            Rule("resblocks.{}.convs1.{}", "blocks_{}/dilated_{}", CONV1D),
            Rule("resblocks.{}.convs2.{}", "blocks_{}/plain_{}", CONV1D),
            Rule("conv_post", "conv_out", CONV1D),
        )
    )


TABLE, AUTHORS_TABLE = _table("upsampler"), _table("ups")


def read_shapes(shapes: Shapes) -> HiFiGANConfig:
    """The configuration of an authors' file, its weight norm folded in."""
    stages = shapes.count("ups.{}.")
    kernels = tuple(shapes[f"ups.{i}.weight"][2] for i in range(stages))
    if kernels not in _AUTHORS_RATES:
        raise InputError(
            f"{shapes.where}: a vocoder whose upsampling kernels are {kernels}; known are "
            f"{' and '.join(map(str, _AUTHORS_RATES))}"
        )
    rates, sample_rate = _AUTHORS_RATES[kernels]
    channels, mels, _ = shapes["conv_pre.weight"]
    blocks = shapes.count("resblocks.{}.") // stages
    dilations = (1, 3, 5)[: shapes.count("resblocks.0.convs1.{}.")]
    return HiFiGANConfig(
        mels=mels,
        sample_rate=sample_rate,
        channels=channels,
        rates=rates,
        kernels=kernels,
        block_kernels=tuple(shapes[f"resblocks.{i}.convs1.0.weight"][2] for i in range(blocks)),
        dilations=(dilations,) * blocks,
    )


def _gather(parts: Mapping[str, Weights], path) -> Weights:
    """With weight norm folded in, and with the mean and scale of transformers' class."""
    tensors = fold_weight_norm(parts["vocoder"], str(path))
    mels = Shapes(tensors, f"{path}: vocoder")["conv_pre.weight"][1:2]
    identity = {"mean": np.zeros(mels, np.float32), "scale": np.ones(mels, np.float32)}
    return tensors | Weights({name: ArrayReader(value) for name, value in identity.items()})


PART = Part(
    name="vocoder",
    folder="vocoder",
    classes={_CLASS: "transformers"},
    weights=TRANSFORMERS_FILE,
    model=HiFiGAN,
    inputs=lambda config: (jnp.zeros((1, 4, config.mels)),),
    read=read_config,
    write=write_config,
    table=lambda config: TABLE,
    interpret=interpret,
    describes=lambda content: _CLASS in named_classes(content),
    authors=AuthorsPart(
        mark="conv_pre.bias",
        table=lambda config: AUTHORS_TABLE,
        read_shapes=read_shapes,
        gather=_gather,
    ),
)
