"""Conversion rules of SEANet, which EnCodec and Mimi share."""

from __future__ import annotations

from audioldm2_jax.checkpoints.convert import CONV1D, CONV1D_TRANSPOSE, NORM, Rule
from audioldm2_jax.checkpoints.parts.blocks import lstm_rules
from audioldm2_jax.presets.codecs import SEANetConfig


def _layers(config: SEANetConfig, side: str) -> dict[int, tuple[str, bool]]:
    """{number of a layer in the reference's list: (our name, whether it is a residual unit)}.

    The numbers left out are those of activations.
    """
    units = range(config.units)
    names: list = [("conv_in", False)]
    lstm = [("lstm", False)] if config.lstm_layers else []
    names += lstm if side == "decoder" else []
    for i in range(len(config.strides)):
        blocks = [(f"blocks_{i}_{j}", True) for j in units]
        if side == "encoder":
            names += [*blocks, None, (f"downsample_{i}", False)]
        else:
            names += [None, (f"upsample_{i}", False), *blocks]
    names += lstm if side == "encoder" else []
    names += [None, ("conv_out", False)]
    return {number: name for number, name in enumerate(names) if name}


def seanet_rules(config: SEANetConfig, side: str) -> list[Rule]:
    """The rules of the encoder or of the decoder, as transformers names EnCodec's and Mimi's."""
    rules = []
    for number, (name, unit) in _layers(config, side).items():
        source, target = f"{side}.layers.{number}", f"{side}/{name}"
        if name == "lstm":
            rules += lstm_rules(f"{source}.lstm", f"{target}/lstm")
            continue
        inner = {"block.1": "conv_in", "block.3": "conv_out", "shortcut": "shortcut"}
        kind = CONV1D_TRANSPOSE if name.startswith("upsample") else CONV1D
        pairs = [(source, target)]
        if unit:
            pairs = [(f"{source}.{theirs}", f"{target}/{ours}") for theirs, ours in inner.items()]
        for theirs, ours in pairs:
            rules.append(Rule(f"{theirs}.conv", ours, kind))
            rules.append(Rule(f"{theirs}.norm", f"{ours}/norm", NORM))
    return rules
