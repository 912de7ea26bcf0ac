"""What a model *is*: frozen configurations of every part (`parts.py`, `semantic.py`), of the
published models (`models.py`), and the conventions by which published weights are read
(`conventions.py`).
"""

from audioldm2_jax.presets.codecs import (  # noqa: F401
    ENCODEC,
    DACConfig,
    EncodecConfig,
    MimiConfig,
    SoundStreamConfig,
)
from audioldm2_jax.presets.conventions import CONVENTIONS, Convention  # noqa: F401
from audioldm2_jax.presets.language import (  # noqa: F401
    DecoderConfig,
    TokenLMConfig,
    audiolm_stages,
)
from audioldm2_jax.presets.models import PRESETS, ModelConfig  # noqa: F401
from audioldm2_jax.presets.musicgen import MusicGenConfig, MusicGenLMConfig  # noqa: F401
from audioldm2_jax.presets.parts import (  # noqa: F401
    AudioMAEConfig,
    CLAPConfig,
    ClapMelConfig,
    GPT2Config,
    HiFiGANConfig,
    HTSATConfig,
    MusicNNConfig,
    PANNsConfig,
    PhonemeConfig,
    ProjectionConfig,
    RobertaConfig,
    ScheduleConfig,
    SolverConfig,
    T5Config,
    UNetConfig,
    VAEConfig,
    VGGishConfig,
)
from audioldm2_jax.presets.semantic import HuBERTConfig, KMeansConfig, W2VBERTConfig  # noqa: F401
