"""What a user asks for, checked before anything is computed."""

from __future__ import annotations

import dataclasses
import math
import secrets
import unicodedata
from dataclasses import dataclass

import numpy as np

from audioldm2_jax.checkpoints.families import default_guidance
from audioldm2_jax.diffusion.samplers import SamplerSchedule, Timesteps, make_schedule
from audioldm2_jax.errors import InputError
from audioldm2_jax.pipelines.durations import Duration, exact_duration
from audioldm2_jax.pipelines.values import check_count, number
from audioldm2_jax.presets import Convention, ModelConfig

# The voice that the authors' command takes when none is described.
VOICE = "A female reporter is speaking full of emotion"
_LONGEST = 20_000  # characters of a text; models read some 500 tokens


@dataclass(frozen=True)
class ClipRequest:
    """What a user asks of one clip (of `candidates` clips, of which CLAP picks the best).

    prompt: of a speech checkpoint the voice, None is a default one; transcription: what it says;
    negative_prompt: what to steer away from; seconds: None is the length of training; guidance:
    None is the model's own; seed: None or -1 draws one; clip: the clip's number among the seed's.
    """

    prompt: str | None
    negative_prompt: str | None = None
    transcription: str | None = None
    seconds: float | None = None
    guidance: float | None = None
    candidates: int = 1
    seed: int | None = 0
    clip: int = 0

    @property
    def guided(self) -> bool:
        """Of a checked request, whose guidance is a number."""
        return self.guidance > 1.0


@dataclass(frozen=True)
class Sampling:
    """How all clips of a batch are sampled; schedule: made of the rest for the model."""

    sampler: str
    steps: int
    eta: float
    schedule: SamplerSchedule


def check_sampling(config: ModelConfig, sampler: str | None, steps: int, eta: float) -> Sampling:
    """None for the sampler is the model's own. Raises InputError."""
    sampler = config.schedule.sampler if sampler is None else sampler
    eta = number("eta", eta)
    schedule = make_schedule(sampler, config.schedule, Timesteps(steps), eta=eta)
    return Sampling(sampler, steps, eta, schedule)


def check_clips(
    config: ModelConfig,
    *,
    prompt,
    negative_prompt=None,
    transcription=None,
    seconds: float | None = None,
    guidance: float | None = None,
    candidates: int = 1,
    seed: int | None = 0,
    first_clip: int = 0,
    source: str = "the checkpoint",
) -> list[ClipRequest]:
    """A request of P prompts as one request for each clip, with the model's choices filled in.

    Arguments as of `Pipeline.__call__`; source: what messages call the checkpoint. Raises
    InputError for the first value that cannot be used.
    """
    prompts, transcriptions = check_speech(config, prompt, transcription, source)
    prompts, negatives = check_texts(prompts, negative_prompt)
    guidance = default_guidance(config) if guidance is None else check_guidance(guidance)
    if any(negatives) and guidance <= 1:
        raise InputError(
            f"negative_prompt: has no effect at guidance {guidance:g}; leave it out, or ask for "
            "more than 1"
        )
    if seconds is not None:
        seconds = number("seconds", seconds)
    candidates = check_count("candidates", candidates, 1)
    if candidates > 1 and not config.has_audio_tower:
        raise InputError(
            f"candidates is {candidates}, but {source} holds no CLAP audio tower to rank them by: "
            "ask for 1, or convert the authors' file, which has one"
        )
    seed, first_clip = draw_seed(seed), check_count("first_clip", first_clip, 0)
    if len(negatives) == 1:
        negatives = negatives * len(prompts)
    return [
        ClipRequest(
            prompt,
            negatives[i] if negatives else None,
            transcriptions[i] if transcriptions else None,
            seconds,
            guidance,
            candidates,
            seed,
            first_clip + i * candidates,
        )
        for i, prompt in enumerate(prompts)
    ]


def check_clip(config: ModelConfig, request: ClipRequest, source: str) -> ClipRequest:
    """A clip's request with the model's choices filled in. Raises InputError."""
    if not isinstance(request, ClipRequest):
        raise InputError(f"a ClipRequest is expected, not {type(request).__name__}")
    given = {field.name: getattr(request, field.name) for field in dataclasses.fields(request)}
    given["first_clip"] = check_count("clip", given.pop("clip"), 0)
    clips = check_clips(config, **given, source=source)
    if len(clips) != 1:
        raise InputError(f"a ClipRequest has one prompt, not {len(clips)}")
    return clips[0]


@dataclass(frozen=True)
class Request:
    """A checked request: clips of one duration, sampled alike."""

    clips: tuple[ClipRequest, ...]
    duration: Duration
    sampling: Sampling

    def part(self, start: int, stop: int) -> Request:
        """The request of some of its clips, which are the same clips."""
        return dataclasses.replace(self, clips=self.clips[start:stop])

    @property
    def waveforms(self) -> int:
        """Clips that are made, candidates counted."""
        return sum(clip.candidates for clip in self.clips)


def check_request(
    config: ModelConfig,
    convention: Convention,
    *,
    prompt,
    negative_prompt=None,
    transcription=None,
    seconds: float | None = None,
    steps: int = 25,
    sampler: str | None = None,
    eta: float = 0.0,
    guidance: float | None = None,
    candidates: int = 1,
    seed: int | None = 0,
    first_clip: int = 0,
    source: str = "the checkpoint",
) -> Request:
    """Arguments as of `Pipeline.__call__`; source: what messages call the checkpoint.

    Raises InputError for the first value that the model cannot use.
    """
    sampling = check_sampling(config, sampler, steps, eta)
    clips = check_clips(
        config,
        prompt=prompt,
        negative_prompt=negative_prompt,
        transcription=transcription,
        seconds=seconds,
        guidance=guidance,
        candidates=candidates,
        seed=seed,
        first_clip=first_clip,
        source=source,
    )
    return Request(tuple(clips), exact_duration(seconds, config, convention), sampling)


def check_speech(
    config: ModelConfig, prompt, transcription, source: str = "the checkpoint"
) -> tuple[list[str], list[str]]:
    """Voice descriptions and what they say, as many of one as of the other."""
    transcriptions = _texts("transcription", transcription)
    if not config.phonemes:
        if any(transcriptions):
            raise InputError(
                f"transcription: {source} does not speak; take a speech checkpoint, such as "
                "anhnct/audioldm2_gigaspeech"
            )
        return prompt, []
    _check_each("transcription", transcriptions)
    if not transcriptions:
        raise InputError(f"transcription: {source} speaks: say what, with transcription=TEXT")
    if prompt is None or (isinstance(prompt, str) and not prompt.strip()):
        prompt = VOICE
    voices = _texts("prompt", prompt)
    if len(voices) != len(transcriptions):
        if 1 not in (len(voices), len(transcriptions)):
            raise InputError(
                f"transcription: {len(transcriptions)} texts for {len(voices)} prompts"
            )
        count = max(len(voices), len(transcriptions))
        voices = voices * (count // len(voices))
        transcriptions = transcriptions * (count // len(transcriptions))
    return voices, transcriptions


def check_texts(prompts, negatives) -> tuple[list[str], list[str]]:
    """Prompts as a list, and negatives as none, one for all, or one for each prompt."""
    prompts = _texts("prompt", prompts)
    if not prompts:
        raise InputError("prompt: give a text or a list of texts")
    _check_each("prompt", prompts)
    negatives = _texts("negative_prompt", negatives)
    _check_each("negative_prompt", negatives, empty=True)
    # White space steers away from nothing, as "" does.
    negatives = [text if text.strip() else "" for text in negatives]
    if len(negatives) not in (0, 1, len(prompts)):
        raise InputError(f"negative_prompt: {len(negatives)} texts for {len(prompts)} prompts")
    return prompts, negatives


def _texts(name: str, value) -> list[str]:
    """A text or a sequence of texts as a list; None has none."""
    if value is None or isinstance(value, str):
        return [] if value is None else [value]
    if not isinstance(value, (list, tuple, np.ndarray)) or not all(
        isinstance(text, str) for text in value
    ):
        raise InputError(f"{name}: give a text or a list of texts")
    return [str(text) for text in value]


def _check_each(name: str, texts: list[str], *, empty: bool = False) -> None:
    for i, text in enumerate(texts):
        which = f"{name} {i + 1} of {len(texts)}"
        if not (empty or text.strip()):
            raise InputError(f"{which} is empty: give a text")
        check_text(which, text)


def check_text(name: str, text: str) -> None:
    """Raises InputError for a text that no tokenizer can be given: too long, or not of characters.

    name: what the message calls it.
    """
    if len(text) > _LONGEST:
        raise InputError(f"{name} has {len(text)} characters: at most {_LONGEST} are taken")
    for character in text:
        kind = unicodedata.category(character)
        if kind == "Cs" or (kind == "Cc" and not character.isspace()):
            code = f"U+{ord(character):04X}"
            raise InputError(f"{name} holds {code}, which is no character of a text: {text[:40]!r}")


def draw_seed(seed) -> int:
    """The seed; one drawn at random for None or -1. Raises InputError for what is no seed."""
    if seed is None or (seed == -1 and not isinstance(seed, bool)):
        return secrets.randbelow(2**32)
    try:
        return check_count("seed", seed, 0)
    except InputError as error:
        raise InputError(f"{error}, or -1 to draw one") from None


def check_guidance(value) -> float:
    """A classifier-free scale from 0. Raises InputError."""
    value = number("guidance", value)
    if not math.isfinite(value) or value < 0:
        raise InputError(f"guidance is {value}: it must be a number from 0 (1 or less: none)")
    return value
