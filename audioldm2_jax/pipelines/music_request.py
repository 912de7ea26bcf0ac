"""What a user asks of MusicGen, checked before anything is computed."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from audioldm2_jax.checkpoints.families import MUSICGEN
from audioldm2_jax.decoding.sampling import Sampling, sampling
from audioldm2_jax.errors import InputError
from audioldm2_jax.pipelines.recordings import Recording
from audioldm2_jax.pipelines.request import ClipRequest, check_guidance, check_texts, draw_seed
from audioldm2_jax.pipelines.values import check_count, number
from audioldm2_jax.presets import MusicGenConfig

# As audiocraft samples by default.
TOP_K = 250
_MOST_SECONDS = 3600


@dataclass(frozen=True)
class Draws:
    """How tokens are drawn. temperature: 0 takes the likeliest. top_k: of so many likeliest, 0 of
    all; top_p: of the likeliest whose probabilities reach this sum, 1 of all.
    """

    temperature: float = 1.0
    top_k: int = TOP_K
    top_p: float = 1.0

    def settings(self, clips: int) -> Sampling:
        """The same for so many clips. Raises InputError for values out of their range."""
        return sampling(clips, **dataclasses.asdict(self))


@dataclass(frozen=True)
class MusicRequest:
    """A checked request.

    clips: of each prompt; guidance, seed and candidates are the same for all. frames: of the codec,
    that are made. draws: how. recording: that goes on; None for music from text alone.
    """

    clips: tuple[ClipRequest, ...]
    frames: int
    draws: Draws
    recording: Recording | None = None

    def part(self, start: int, stop: int) -> MusicRequest:
        """The request of some of its clips, which are the same clips."""
        return dataclasses.replace(self, clips=self.clips[start:stop])

    @property
    def rows(self) -> list[ClipRequest]:
        """The clip of each waveform that is made, candidates counted."""
        return [clip for clip in self.clips for _ in range(clip.candidates)]

    @property
    def guided(self) -> bool:
        """Whether classifier-free guidance acts. Without a text there is nothing to follow."""
        return any(clip.guided and clip.prompt.strip() for clip in self.clips)


def check_music_request(
    config: MusicGenConfig,
    *,
    prompt,
    seconds: float | None = None,
    guidance: float | None = None,
    candidates: int = 1,
    seed: int | None = 0,
    first_clip: int = 0,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    recording: Recording | None = None,
    source: str = "the checkpoint",
) -> MusicRequest:
    """Arguments as of `MusicGen.__call__`; with a recording, as of `MusicGen.continuation`.

    source: what messages call the checkpoint. None of temperature, top_k and top_p is audiocraft's
    own. Raises InputError for the first value that the model cannot use.
    """
    if recording is None:
        prompts, _ = check_texts(prompt, None)
    else:
        # The texts of a negative prompt may be empty, too.
        prompts = check_texts("x", "" if prompt is None else prompt)[1]
        if recording.seconds * config.frame_rate < 1 - 1e-6:
            frame = 1 / config.frame_rate
            raise InputError(f"{recording.name}: shorter than a frame of the codec ({frame:g} s)")
    candidates = check_count("candidates", candidates, 1)
    if candidates > 1 and recording is None:
        raise InputError(
            f"candidates is {candidates}, but {source} holds no CLAP to rank them by: ask for 1, "
            "and for more prompts"
        )
    frames = check_frames(config, seconds)
    guidance = MUSICGEN.guidance if guidance is None else check_guidance(guidance)
    draws = check_draws(temperature, top_k, top_p)
    seed, first = draw_seed(seed), check_count("first_clip", first_clip, 0)
    clips = (
        ClipRequest(
            text,
            guidance=guidance,
            candidates=candidates,
            seed=seed,
            clip=first + i * candidates,
        )
        for i, text in enumerate(prompts)
    )
    return MusicRequest(tuple(clips), frames, draws, recording)


def check_frames(config: MusicGenConfig, seconds: float | None) -> int:
    """Frames of the codec that last so many seconds; None is the length of training."""
    if seconds is None:
        return config.musicgen_lm.window
    seconds = number("seconds", seconds)
    if not (math.isfinite(seconds) and seconds > 0):
        raise InputError(f"seconds is {seconds}: it must be a positive number")
    if seconds > _MOST_SECONDS:
        raise InputError(f"seconds is {seconds:g}: the longest clip is {_MOST_SECONDS} s")
    frames = round(seconds * config.frame_rate)
    if frames < 1:
        raise InputError(f"seconds is {seconds}: the shortest clip is {1 / config.frame_rate:g} s")
    return frames


def check_draws(temperature: float | None, top_k: int | None, top_p: float | None) -> Draws:
    """None is audiocraft's own. Raises InputError for values out of their range."""
    draws = Draws(
        1.0 if temperature is None else number("temperature", temperature),
        TOP_K if top_k is None else check_count("top_k", top_k, 0),
        1.0 if top_p is None else number("top_p", top_p),
    )
    draws.settings(1)
    return draws
