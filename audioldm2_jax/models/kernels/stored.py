"""Parameters arranged once, when the weights are loaded, as a GPU's libraries read them.

In a program XLA would do the same: in every call, into memory of the call's own.
"""

from __future__ import annotations

import jax.numpy as jnp


def arrange_for_gpu(params: dict) -> dict:
    """A new parameter tree, for the same modules; other leaves are shared with `params`.

    Kernels of convolutions, [*window, I, O], become `turned`, [O, *window, I], as cuDNN reads
    them. `up` and `gate` of a gated feed-forward become `up_gate`, one matrix of one product.
    """
    arranged = {}
    for name, value in params.items():
        if not isinstance(value, dict):
            arranged[name] = value
        elif "kernel" in value:
            arranged[name] = _layer(name, value)
        else:
            arranged[name] = arrange_for_gpu(value)
    if {"up", "gate"} <= arranged.keys():
        up, gate = arranged.pop("up"), arranged.pop("gate")
        arranged["up_gate"] = {k: jnp.concatenate([up[k], gate[k]], -1) for k in up}
    return arranged


def _layer(name: str, layer: dict) -> dict:
    """One layer; `layers.ConvTranspose`, an upsample* in 1-D, keeps its kernel."""
    kernel = layer["kernel"]
    if kernel.ndim == 2 or (kernel.ndim == 3 and name.startswith("upsample")):
        return layer
    return {k: v for k, v in layer.items() if k != "kernel"} | {"turned": turn(kernel)}


def turn(kernel):
    """[*window, I, O] -> [O, *window, I]."""
    return jnp.moveaxis(kernel, -1, 0)


def turn_back(kernel):
    """[O, *window, I] -> [*window, I, O], which costs a GPU nothing: it changes no bytes."""
    return jnp.moveaxis(kernel, 0, -1)
