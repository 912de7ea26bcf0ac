"""Weight files as tensors by name: safetensors and torch's archives, whole or in shards.

No torch is needed, and no code in a file runs.
"""

from audioldm2_jax.checkpoints.weights.base import ArrayReader, Weights, unwrap  # noqa: F401
from audioldm2_jax.checkpoints.weights.open import candidates, find, read, write  # noqa: F401
