"""The families of models: their parts, their pipelines, and where their published files err."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audioldm2_jax.checkpoints.generation_config import read_sequences, sequences_file
from audioldm2_jax.checkpoints.parts import PARTS
from audioldm2_jax.presets import ModelConfig, MusicGenConfig
from audioldm2_jax.presets.audiolm import CODECS, AudioLMConfig, check_parts
from audioldm2_jax.presets.musicgen import check_musicgen


def speech_tokens(config: ModelConfig) -> ModelConfig:
    """512 LOA tokens for speech. Published files keep the 8 of AudioLDM 2's sounds, or nothing."""
    if config.phonemes is None or config.gpt2 is None or config.gpt2.tokens > 8:
        return config
    return dataclasses.replace(config, gpt2=dataclasses.replace(config.gpt2, tokens=512))


def clap_towers(config: ModelConfig) -> ModelConfig:
    """CLAP in two towers without temperatures: AudioLDM's pipeline takes the text tower alone."""
    if config.clap is None or not config.clap.scales:
        return config
    return dataclasses.replace(config, clap=dataclasses.replace(config.clap, scales=False))


@dataclass(frozen=True, kw_only=True)
class Family:
    """Models of one shape. A new one is a value in `FAMILIES`.

    name: `family` of the models' configurations.
    pipeline: `_class_name` of model_index.json.
    parts: names of the required parts; a tuple holds alternatives, which share a folder.
    optional: names of parts that a checkpoint may have besides.
    config: class of the configurations, with a field for `family` and for each part.
    scheduler: whether a checkpoint has scheduler/, and its configuration a field `schedule`.
    sections: {part: its section of config.json} where all parts lie in one folder without
        sub-folders (`checkpoints.sectioned`); `pipeline` is then the class that config.json names.
    beside: further JSON files beside the parts' folders, from the configuration: {name: content}.
    values: what such files of a folder say: {field of the configuration: value}.
    unlisted: components that our index leaves out, since the pipeline does not take them.
    guidance: default scale of classifier-free guidance.
    quirks: mend or refuse what files say, in this order, after the convention has acted.
    in_authors_file: whether an authors' file with these parts' configurations is of the family;
        None if the authors publish no such file.
    """

    name: str
    pipeline: str
    parts: tuple[str | tuple[str, ...], ...]
    optional: tuple[str, ...] = ("audiomae",)
    config: type[Any] = ModelConfig
    scheduler: bool = True
    sections: Mapping[str, str] = field(default_factory=dict)
    beside: Callable[[Any], dict[str, dict]] = lambda config: {}
    values: Callable[[Path], dict[str, Any]] = lambda folder: {}
    unlisted: tuple[str, ...] = ()
    guidance: float = 3.5
    quirks: tuple[Callable[[Any], Any], ...] = ()
    in_authors_file: Callable[[Mapping[str, Any]], bool] | None = None

    @property
    def slots(self) -> list[tuple[tuple[str, ...], bool]]:
        """(alternative parts, whether one of them is required) for each place in a checkpoint."""
        required = [(part,) if isinstance(part, str) else part for part in self.parts]
        return [(names, True) for names in required] + [((name,), False) for name in self.optional]

    def missing(self, parts) -> str | None:
        """The first required part that is not among `parts`; of alternatives the first."""
        lacking = (names for names, required in self.slots if required and not {*names} & {*parts})
        return next((names[0] for names in lacking), None)

    def model_config(self, parts: Mapping[str, Any], **values):
        """A configuration with these parts alone. values: of its fields that are no parts."""
        fields = {entry.name for entry in dataclasses.fields(self.config)} & PARTS.keys()
        return self.config(family=self.name, **dict.fromkeys(fields) | dict(parts) | values)

    def mended(self, config):
        """The configuration after the family's quirks."""
        for quirk in self.quirks:
            config = quirk(config)
        return config


_DIFFUSION = ("unet", "vae", "vocoder")

AUDIOLDM2 = Family(
    name="audioldm2",
    pipeline="AudioLDM2Pipeline",
    parts=("clap", ("t5", "phonemes"), "projection", "gpt2", *_DIFFUSION),
    quirks=(speech_tokens,),
    in_authors_file=lambda parts: "gpt2" in parts,
)
AUDIOLDM = Family(
    name="audioldm",
    pipeline="AudioLDMPipeline",
    parts=("clap", *_DIFFUSION),
    unlisted=("feature_extractor",),
    guidance=2.5,
    quirks=(clap_towers,),
    in_authors_file=lambda parts: parts["unet"].film > 0,
)
MUSICLDM = Family(
    name="musicldm",
    pipeline="MusicLDMPipeline",
    parts=("clap", *_DIFFUSION),
    guidance=2.0,
)
# No diffusers pipeline runs this published model, so the class name is our own.
AUDIOLDM_T5 = Family(
    name="audioldm_t5",
    pipeline="AudioLDMT5Pipeline",
    parts=("t5", *_DIFFUSION),
    optional=("clap", "audiomae"),
    in_authors_file=lambda parts: True,
)
# No diffusers pipeline runs TANGO either; its own folders are read by `tango.py`.
TANGO = Family(
    name="tango", pipeline="TangoPipeline", parts=("t5", *_DIFFUSION), optional=(), guidance=3.0
)
# Our own layout: nobody publishes AudioLM's language models.
AUDIOLM = Family(
    name="audiolm",
    pipeline="AudioLMPipeline",
    parts=(CODECS, ("hubert", "w2v_bert"), "kmeans", "semantic_lm", "coarse_lm"),
    optional=("fine_lm",),
    config=AudioLMConfig,
    scheduler=False,
    beside=sequences_file,
    values=read_sequences,
    quirks=(check_parts,),
)


def _musicgen_files(config: MusicGenConfig) -> dict[str, dict]:
    """What transformers' processor reads."""
    return {
        "preprocessor_config.json": {
            "feature_extractor_type": "EncodecFeatureExtractor",
            "processor_class": "MusicgenProcessor",
            "feature_size": config.musicgen_lm.channels,
            "sampling_rate": config.encodec.sample_rate,
            "padding_side": "left",
            "padding_value": 0.0,
            "return_attention_mask": True,
            "chunk_length_s": None,
            "overlap": None,
        }
    }


MUSICGEN = Family(
    name="musicgen",
    pipeline="MusicgenForConditionalGeneration",
    parts=("t5", "encodec", "musicgen_lm"),
    optional=(),
    config=MusicGenConfig,
    scheduler=False,
    sections={"t5": "text_encoder", "encodec": "audio_encoder", "musicgen_lm": "decoder"},
    beside=_musicgen_files,
    guidance=3.0,
    quirks=(check_musicgen,),
)
# {name: family}. An authors' file is of the first family that takes it.
FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (AUDIOLDM2, AUDIOLDM, MUSICLDM, AUDIOLDM_T5, TANGO, AUDIOLM, MUSICGEN)
}


def default_guidance(config: ModelConfig) -> float:
    """The guidance scale that the model's own command or pipeline takes by default.

    AudioLDM 2's command runs AudioLDM's models whose U-Net has more than FiLM, such as the 48 kHz
    one.
    """
    family = FAMILIES[config.family]
    by_audioldm2 = family is AUDIOLDM and not config.unet.plain
    return AUDIOLDM2.guidance if by_audioldm2 else family.guidance
