"""What a stage tells the trainer: each stage's file builds these values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from audioldm2_jax.encoders.latents import check_length
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.layers import REMAT
from audioldm2_jax.presets import ClapMelConfig, ModelConfig
from audioldm2_jax.training.optim import OptimConfig
from audioldm2_jax.training.settings import StageSettings, check_settings, defaults_of

# (params, frozen, batch, keys [B], step) -> (loss, metrics). `params` holds all trained parts, of
# which those of the group are differentiated. Metrics are scalars; `batch_stats`, where it is
# there, holds new values of the group's parameters by path.
Loss = Callable[[dict, dict, dict, Any, Any], tuple[Any, dict]]


@dataclass(frozen=True)
class TrainableGroup:
    """Parts that one loss trains with one optimiser.

    Groups of a stage are updated in their order; each sees the values that the last one has
    written. frozen_params: patterns of the paths of parameters without gradients and moments;
    eval_loss: the loss on held-out clips where it differs (stored statistics, no drop-out).
    """

    parts: tuple[str, ...]
    loss: Loss
    optim: OptimConfig = field(default_factory=OptimConfig)
    frozen_params: tuple[str, ...] = ()
    eval_loss: Loss | None = None


@dataclass(frozen=True)
class Stage:
    """Trained networks and their losses.

    init: (key, parts to leave out) -> parameters by part; groups: by name; ema: parts with a moving
    average.
    """

    name: str
    init: Callable[..., dict]
    groups: Mapping[str, TrainableGroup]
    ema: tuple[str, ...] = ()


@dataclass(frozen=True)
class TextSpec:
    """A text of a clip as tokens: batch keys NAME_tokens, NAME_mask [B, L].

    source: "caption", or "transcript", which is read as phonemes; tokenizer: of the base
    checkpoint; limit: tokens that the encoder takes, all of which phonemes have; states: batch key
    of what the frozen encoder makes of the text, "" where the encoder trains.
    """

    name: str
    source: str = "caption"
    tokenizer: str = ""
    limit: int | None = None
    states: str = ""

    def length(self, text_length: int) -> int:
        """Tokens of each text in a batch."""
        if self.source == "transcript":
            return self.limit
        return min(self.limit or text_length, text_length)


@dataclass(frozen=True)
class BatchSpec:
    """What a stage reads of each clip, for the stream of data and for rehearsals.

    sample_rate: Hz of `waveform`; seconds: its length; clap_waveform: a copy at 48 kHz; classes: of
    the vector `labels`; text_length: tokens of a text at most; poolings: of the LOA in precomputed
    corpora; precomputed: arrays of one clip that `encode` writes and this stage accepts in place of
    sound, by batch key; none where the stage trains on sound itself.
    """

    sample_rate: int
    seconds: float
    clap_waveform: bool = False
    texts: tuple[TextSpec, ...] = ()
    classes: tuple[str, ...] = ()
    text_length: int = 128
    poolings: tuple[int, ...] = ()
    precomputed: Mapping[str, jax.ShapeDtypeStruct] = field(default_factory=dict)

    def arrays(self, *, precomputed: bool = False) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes of one clip, without the batch axis."""
        shapes = {}
        for text in self.texts:
            length = text.length(self.text_length)
            shapes[f"{text.name}_tokens"] = jax.ShapeDtypeStruct((length,), jnp.int32)
            shapes[f"{text.name}_mask"] = jax.ShapeDtypeStruct((length,), jnp.bool_)
        if self.classes:
            shapes["labels"] = jax.ShapeDtypeStruct((len(self.classes),), jnp.float32)
        return shapes | (dict(self.precomputed) if precomputed else self._sound())

    def _sound(self) -> dict[str, jax.ShapeDtypeStruct]:
        rates = {"waveform": self.sample_rate}
        if self.clap_waveform:
            rates["waveform_48k"] = ClapMelConfig.sample_rate
        return {
            name: jax.ShapeDtypeStruct((int(self.seconds * rate),), jnp.float32)
            for name, rate in rates.items()
        }

    @property
    def from_sound(self) -> set[str]:
        """Precomputed arrays that the frozen encoders make of the sound, not of a text."""
        return set(self.precomputed) - {text.states for text in self.texts}


@dataclass(frozen=True)
class FrozenConstant:
    """A frozen array that is computed once from a part of the base checkpoint.

    compute: ({part: its parameters}, dtype) -> array.
    """

    part: str
    compute: Callable[[dict, Any], Any]


@dataclass(frozen=True)
class StageSpec:
    """A stage for one model, with all that the trainer needs to know of it.

    frozen: parts of the base checkpoint that it needs, each with the batch keys that together make
    it superfluous (none: it is always needed); constants: frozen arrays by name, needed where their
    part is not loaded; extra_frozen: frozen parameters of other files; init_from_base: parts that
    may be initialised from the base checkpoint; exports: trained parts of a checkpoint; merge: a
    part's parameters as checkpoints hold them; unmerge: its inverse; standalone: configuration of a
    part that no generating checkpoint holds, which is exported alone; latent_mean: (frozen, batch)
    -> latents before their scale, for stages on latents; tokenizer: of the base
    checkpoint, exported with a part that is exported alone; lora_base: frozen parts that LoRA
    changes.
    """

    stage: Stage
    batch: BatchSpec
    frozen: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    constants: Mapping[str, FrozenConstant] = field(default_factory=dict)
    extra_frozen: Callable[[], dict] = dict
    init_from_base: tuple[str, ...] = ()
    exports: tuple[str, ...] = ()
    merge: Callable[[dict], dict] = lambda params: params
    unmerge: Callable[[dict], dict] = lambda params: params
    standalone: Any = None
    latent_mean: Callable[[dict, dict], Any] | None = None
    tokenizer: str = ""
    lora_base: tuple[str, ...] = ()


@dataclass(frozen=True)
class PromptSamples:
    """Samples are clips of fixed prompts, by the base checkpoint with the trained parts."""


@dataclass(frozen=True)
class ClipSamples:
    """Samples are held-out clips that one part restores from their mel spectrograms.

    restore: (configuration, parameters, mel [B, T, F]) -> mel, or waveform [B, samples] where
    `is_sound`.
    """

    part: str
    restore: Callable[[Any, dict, Any], Any]
    is_sound: bool


@dataclass(frozen=True)
class StageInfo:
    """What is known of a stage before there is a model; the table `stages.STAGES` holds these.

    build: (settings, optim) -> StageSpec; trains, needs, reads: for the docs; reads_latents: of the
    VAE; reads_texts: of tokenizers; reads_labels: of the corpora; uses_base: it can start from a
    base checkpoint; has_ema: it keeps averages of the weights; has_remat: gradients may recompute
    activations; on_vae_grid: clips are as long as the VAE's grid takes; compares_clips: the loss
    compares the clips of a micro-batch with each other.
    """

    name: str
    settings: type[StageSettings]
    build: Callable[[Any, OptimConfig], StageSpec]
    trains: str = ""
    needs: str = "nothing"
    reads: str = "sound"
    samples: PromptSamples | ClipSamples | None = None
    reads_latents: bool = False
    reads_texts: bool = False
    reads_labels: bool = False
    uses_base: bool = True
    has_ema: bool = False
    has_remat: bool = True
    on_vae_grid: bool = True
    compares_clips: bool = False

    @property
    def defaults(self) -> dict[str, Any]:
        """{setting: its default}."""
        return defaults_of(self.settings)


def build_stage(
    info: StageInfo,
    model: ModelConfig,
    optim: OptimConfig,
    settings: Mapping[str, Any],
    *,
    remat: str = "none",
    **run: Any,
) -> StageSpec:
    """A stage for a model. run: seconds, dtype and other fields of `StageSettings`.

    Raises InputError for settings that do not fit the stage or the model.
    """
    check_settings(info.name, info.settings, settings)
    if remat not in REMAT or (not info.has_remat and remat != "none"):
        only = "" if info.has_remat else f"; {info.name}: none alone"
        raise InputError(f"remat {remat!r}: choose one of {' '.join(REMAT)}{only}")
    # Sequences as tuples: settings are part of compiled functions' identity.
    values = {k: tuple(v) if isinstance(v, (list, tuple)) else v for k, v in settings.items()}
    stage_settings = info.settings(model, remat=remat, **run, **values)
    if info.on_vae_grid:
        check_length(model, stage_settings.seconds)
    return info.build(stage_settings, optim)
