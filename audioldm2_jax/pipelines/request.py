"""Checking a request and laying out its time axis, before anything is computed."""

from __future__ import annotations

import math
import secrets
import unicodedata
from dataclasses import dataclass

import numpy as np

from audioldm2_jax.checkpoints.families import default_guidance
from audioldm2_jax.diffusion.samplers import SamplerSchedule, Timesteps, make_schedule
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import Convention, ModelConfig

# The voice that the authors' command takes when none is described.
VOICE = "A female reporter is speaking full of emotion"
_MOST_SECONDS = 86_400  # a day; what memory holds is checked by itself
_LONGEST = 20_000  # characters of a text; models read some 500 tokens


@dataclass(frozen=True)
class Grid:
    """latent frames asked of the sampler, samples kept of the waveform (None: all), in seconds."""

    frames: int
    samples: int | None
    seconds: float


def time_grid(seconds: float | None, config: ModelConfig, convention: Convention) -> Grid:
    """How many latent frames a duration takes. None is the length of training, 10.24 s.

    Raises InputError for a duration that is no positive number, shorter than one latent frame or
    longer than a day.
    """
    vocoder, factor = config.vocoder, config.vae.factor
    frame = vocoder.hop / vocoder.sample_rate
    if seconds is None:
        seconds, frames = config.unet.sample_size * factor * frame, config.unet.sample_size
    else:
        seconds = _number("seconds", seconds)
        if not (math.isfinite(seconds) and seconds > 0):
            raise InputError(f"seconds is {seconds}: it must be a positive number")
        if seconds > _MOST_SECONDS:
            raise InputError(f"seconds is {seconds:g}: the longest clip is {_MOST_SECONDS} s")
        if seconds < factor * frame:
            raise InputError(f"seconds is {seconds}: the shortest clip is {factor * frame:g} s")
        if convention.whole_grid:
            # The authors' 25.6 latent frames to a second, where 25 make one: 10 s is 10.24 s.
            frames = max(int(seconds * 1.024 / (frame * factor) + 1e-6), 1)
        else:
            frames = -(-int(seconds / frame) // factor)
    samples = None if convention.whole_grid else int(seconds * vocoder.sample_rate)
    return Grid(frames, samples, float(seconds))


def working_memory(frames: int, config: ModelConfig, itemsize: int, clips: int = 1) -> int:
    """About how many bytes a request takes beside the weights.

    All clips' images of the U-Net at its finest level, guided; one clip's widest images at the
    decoder's end. Within a factor of two of what the compiler reports for base on the CPU; exact
    numbers come from the compiled program.
    """
    vae, unet = config.vae, config.unet
    bins = config.vocoder.mels // vae.factor
    stream = 24 * 2 * clips * frames * bins * unet.channels[0]
    image = 5 * frames * vae.factor * config.vocoder.mels * vae.channels[1]
    return itemsize * (stream + image)


@dataclass(frozen=True)
class Request:
    """A checked request. negatives: none, one for all prompts, or one for each.

    transcriptions: what is said, one for each prompt; none for models of sound and music.
    """

    prompts: list[str]
    negatives: list[str]
    transcriptions: list[str]
    grid: Grid
    steps: int
    sampler: str
    eta: float
    plan: SamplerSchedule
    guidance: float
    candidates: int
    seed: int
    first_clip: int

    @property
    def clips(self) -> int:
        return len(self.prompts) * self.candidates

    @property
    def unconditional(self) -> list[str]:
        """The texts to steer away from; none without guidance."""
        return (self.negatives or [""]) if self.guidance > 1.0 else []


def check(
    config: ModelConfig,
    convention: Convention,
    *,
    prompt,
    negative_prompt,
    transcription,
    seconds,
    steps,
    sampler,
    eta,
    guidance,
    candidates,
    seed,
    first_clip,
) -> Request:
    """Raises InputError for the first value that cannot be used.

    None for the sampler or the guidance is the model's own; a seed of None or -1 is drawn.
    """
    sampler = config.schedule.sampler if sampler is None else sampler
    eta = _number("eta", eta)
    prompts, transcriptions = check_speech(config, prompt, transcription)
    prompts, negatives = check_texts(prompts, negative_prompt)
    guidance = default_guidance(config) if guidance is None else check_guidance(guidance)
    if any(negatives) and guidance <= 1:
        raise InputError(
            f"negative_prompt: has no effect at guidance {guidance:g}; leave it out, or ask for "
            "more than 1"
        )
    return Request(
        prompts,
        negatives,
        transcriptions,
        time_grid(seconds, config, convention),
        steps,
        sampler,
        eta,
        make_schedule(sampler, config.schedule, Timesteps(steps), eta=eta),
        guidance,
        check_count("candidates", candidates, 1),
        draw_seed(seed),
        check_count("first_clip", first_clip, 0),
    )


def check_speech(config: ModelConfig, prompt, transcription) -> tuple[list[str], list[str]]:
    """Voice descriptions and what they say, as many of one as of the other."""
    said = _texts("transcription", transcription)
    if not config.phonemes:
        if any(said):
            raise InputError(
                "transcription: this checkpoint does not speak; take a speech checkpoint, such as "
                "anhnct/audioldm2_gigaspeech"
            )
        return prompt, []
    _check_each("transcription", said)
    if not said:
        raise InputError("transcription: this checkpoint speaks; say what, with transcription=TEXT")
    if prompt is None or (isinstance(prompt, str) and not prompt.strip()):
        prompt = VOICE
    voices = _texts("prompt", prompt)
    if len(voices) != len(said):
        if 1 not in (len(voices), len(said)):
            raise InputError(f"transcription: {len(said)} texts for {len(voices)} prompts")
        count = max(len(voices), len(said))
        voices, said = voices * (count // len(voices)), said * (count // len(said))
    return voices, said


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
    if len(set(negatives)) == 1:
        negatives = negatives[:1]
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


def check_count(name: str, value, lowest: int, highest: int = 2**32 - 1) -> int:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or not lowest <= value <= highest:
        raise InputError(
            f"{name} is {_short(value)}: it must be an integer from {lowest} to {highest}"
        )
    return int(value)


def check_guidance(value) -> float:
    value = _number("guidance", value)
    if not math.isfinite(value) or value < 0:
        raise InputError(f"guidance is {value}: it must be a number from 0 (1 or less: none)")
    return value


def check_latents(latents, shape: tuple[int, ...]) -> np.ndarray:
    axes = "prompts * candidates, time, mel bins, channels"
    return _array("latents", latents, shape, axes)


def check_loa(loa, config: ModelConfig, prompts: int) -> np.ndarray:
    """[P, K, D] with K of any length."""
    if config.gpt2 is None:
        raise InputError("loa: this model has no language of audio")
    length = np.shape(loa)[1] if np.ndim(loa) == 3 else config.gpt2.tokens
    return _array("loa", loa, (prompts, length, config.gpt2.width), "prompts, vectors, width")


def _array(name: str, values, shape: tuple[int, ...], axes: str) -> np.ndarray:
    try:
        values = np.asarray(values, np.float32)
    except (TypeError, ValueError):
        raise InputError(f"{name}: not an array of numbers") from None
    if values.shape != shape:
        raise InputError(
            f"{name}: an array of shape {values.shape}; this request needs {shape} ({axes})"
        )
    if not np.isfinite(values).all():
        raise InputError(f"{name}: NaN or infinity in it")
    return values


def _number(name, value) -> float:
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name} is {_short(value)!r}: it must be a number") from None


def _short(value) -> str:
    try:
        return str(value)[:40]
    except ValueError:  # an integer of thousands of digits
        return "too large a number"
