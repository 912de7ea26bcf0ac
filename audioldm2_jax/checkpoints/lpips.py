"""LPIPS' weights (arXiv 1801.03924) from published files."""

from __future__ import annotations

import re

import jax.numpy as jnp
import numpy as np

from audioldm2_jax import tree
from audioldm2_jax.checkpoints.convert import finite_floats
from audioldm2_jax.checkpoints.weights import read, unwrap
from audioldm2_jax.errors import InputError
from audioldm2_jax.files import user_path
from audioldm2_jax.models.lpips import STAGES

# Indices of VGG16's convolutions in torchvision's `features`.
_NAMES = re.compile(r"features\.\d+\.(weight|bias)|lin\d\.model\.1\.weight")
_INDICES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))


def load(files: str) -> dict:
    """Parameters of `models.lpips.LPIPS`.

    files: paths separated by commas, safetensors or torch's: VGG16 as torchvision or timm name it
    (`features.0.weight`, ...) and LPIPS' own layers (`lin0.model.1.weight`, ...). Raises InputError
    for what is missing or misshapen.
    """
    tensors: dict[str, np.ndarray] = {}
    for name in filter(None, (text.strip() for text in files.split(","))):
        path = user_path(name)
        if not path.is_file():
            raise InputError(f"perceptual_weights {path}: no such file")
        weights = unwrap(read(path), _NAMES.fullmatch)
        for key in filter(_NAMES.fullmatch, weights):
            where = f"perceptual_weights {path}: tensor {key}"
            tensors[key] = np.asarray(finite_floats(weights[key], where), np.float32)

    def take(key, shape):
        if key not in tensors:
            raise InputError(f"perceptual_weights {files}: lack {key}")
        if tensors[key].shape != shape:
            raise InputError(
                f"perceptual_weights {files}: {key} is {tensors[key].shape}, not {shape}"
            )
        return tensors[key]

    flat, before = {}, 3
    for i, (widths, indices) in enumerate(zip(STAGES, _INDICES)):
        for j, (width, index) in enumerate(zip(widths, indices)):
            kernel = take(f"features.{index}.weight", (width, before, 3, 3))
            flat[f"vgg/stages_{i}_conv_{j}/kernel"] = kernel.transpose(2, 3, 1, 0)
            flat[f"vgg/stages_{i}_conv_{j}/bias"] = take(f"features.{index}.bias", (width,))
            before = width
        flat[f"weights_{i}"] = take(f"lin{i}.model.1.weight", (1, before, 1, 1)).reshape(-1)
    return tree.unflatten({path: jnp.asarray(value) for path, value in flat.items()})
