"""Weight files as tensors by name: safetensors, torch's archives and TensorFlow's bundles.

Neither torch nor TensorFlow is needed, and no code in a file runs.
"""

from audioldm2_jax.checkpoints.weights.base import (  # noqa: F401
    ArrayReader,
    Weights,
    as_weights,
    unwrap,
)
from audioldm2_jax.checkpoints.weights.open import candidates, find, read, write  # noqa: F401
from audioldm2_jax.checkpoints.weights.tensorflow import read_bundle  # noqa: F401
from audioldm2_jax.checkpoints.weights.weight_norm import (  # noqa: F401
    fold_weight_norm,
    unfold_weight_norm,
)
