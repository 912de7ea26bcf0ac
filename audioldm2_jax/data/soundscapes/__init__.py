"""A synthetic corpus: sounds, short music and speech from rules, with captions that match."""

from audioldm2_jax.data.soundscapes.scene import Clip, make_clip  # noqa: F401
from audioldm2_jax.data.soundscapes.sound_classes import SOUND_CLASSES  # noqa: F401
