"""AudioLDM 2, AudioLDM and AudioLM in JAX: pure functional models, sampling, checkpoints.

from audioldm2_jax import Pipeline
Pipeline.from_pretrained("cvssp/audioldm2")("a dog barks in the rain").save("out")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from audioldm2_jax.errors import InputError, NumericalError
from audioldm2_jax.version import __version__

if TYPE_CHECKING:
    from audioldm2_jax.pipelines.request import ClipRequest
    from audioldm2_jax.pipelines.text_to_audio import Pipeline

__all__ = ["ClipRequest", "InputError", "NumericalError", "Pipeline", "__version__"]


def __getattr__(name: str):
    # Deferred: importing JAX and the models takes seconds that `--help` should not cost.
    if name == "Pipeline":
        from audioldm2_jax.pipelines.text_to_audio import Pipeline

        return Pipeline
    if name == "ClipRequest":
        from audioldm2_jax.pipelines.request import ClipRequest

        return ClipRequest
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
