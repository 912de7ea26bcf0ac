"""AudioLDM 2, AudioLDM and AudioLM in JAX: pure functional models, sampling, checkpoints.

from audioldm2_jax import Pipeline
Pipeline.from_pretrained("cvssp/audioldm2")("a dog barks in the rain").save("out")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from audioldm2_jax.errors import InputError, NumericalError
from audioldm2_jax.version import __version__

if TYPE_CHECKING:
    from audioldm2_jax.pipelines.audiolm import AudioLM
    from audioldm2_jax.pipelines.musicgen import MusicGen
    from audioldm2_jax.pipelines.request import ClipRequest
    from audioldm2_jax.pipelines.text_to_audio import Pipeline

__all__ = [
    "AudioLM",
    "ClipRequest",
    "InputError",
    "MusicGen",
    "NumericalError",
    "Pipeline",
    "__version__",
]


# {public name: its module}.
_MODULES = {
    "AudioLM": "audiolm",
    "ClipRequest": "request",
    "MusicGen": "musicgen",
    "Pipeline": "text_to_audio",
}


def __getattr__(name: str):
    # Deferred: importing JAX and the models takes seconds that `--help` should not cost.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"audioldm2_jax.pipelines.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
