"""Rows of clips as they are or as a checkpoint makes them: recordings, outputs, models."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from audioldm2_jax.data.ingest.file_ref import Unreadable
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.benchmark.references import Reference, content_digest, wav_name
from audioldm2_jax.evaluation.benchmark.table_results import Point
from audioldm2_jax.evaluation.benchmark.work import Work
from audioldm2_jax.evaluation.clips import ClipSet, Problems, open_clips
from audioldm2_jax.evaluation.generated import (
    ClipPrompt,
    Conditions,
    GenerationSettings,
    generate_clips,
    open_generated,
    plan_generation,
)
from audioldm2_jax.evaluation.protocol import EvalProtocol
from audioldm2_jax.evaluation.rules import LoaderRules
from audioldm2_jax.evaluation.tables import Generation, Model, Row
from audioldm2_jax.pipelines.loading import open_checkpoint
from audioldm2_jax.pipelines.request import VOICE

# As AudioLDM's training reads a clip that CLAP hears: its first 10.24 s at 16 kHz.
_HEARD = LoaderRules(demean=False, resampler="soxr_hq", max_seconds=10.24)
_HEARD_RATE = 16000


def recordings(work: Work, row: Row) -> list[Point]:
    """The corpus' clips against themselves: what the ground truth scores. Raises InputError."""
    reference = work.reference(row.corpus)
    return [work.point(row, reference, lambda: (reference.clip_set, None), "recordings")]


def outputs(work: Work, row: Row) -> list[Point]:
    """A folder of another system's clips. Raises InputError."""
    reference, folder = work.reference(row.corpus), work.sources.output(row)
    assert folder is not None, row.name
    clips = open_outputs(
        folder, reference, work.plan.protocol, follow_links=work.settings.follow_links
    )
    content = [str(folder.resolve()), content_digest(clips.clips)]
    return [work.point(row, reference, lambda: (clips, None), content)]


def open_outputs(
    folder: Path, reference: Reference, protocol: EvalProtocol, *, follow_links: bool = False
) -> ClipSet:
    """Another system's clips under the names of the reference's, whatever their format.

    Clips that the reference does not have are left out: they are of other prompts. Raises
    InputError where none is of it.
    """
    opened = open_clips(folder, protocol, follow_links=follow_links)
    known = {clip.name for clip in reference.clips}
    clips = {}
    for clip in opened.clips:
        names = (wav_name(clip.name), wav_name(PurePosixPath(clip.name).name))
        name = next((n for n in names if n in known), None)
        if name is not None and name not in clips:
            clips[name] = dataclasses.replace(clip, name=name)
    if not clips:
        raise InputError(
            f"{folder}: none of its {len(opened.clips)} clips has the name of one of "
            f"{reference.clip_set.name}, such as {reference.clips[0].name}"
        )
    return ClipSet(opened.name, list(clips.values()), opened.problems, protocol)


def model(work: Work, row: Row) -> list[Point]:
    """Clips of a checkpoint. Raises InputError and NumericalError."""
    assert isinstance(row.clips, Model)
    clips, reference = row.clips, work.reference(row.corpus)
    checkpoint = work.sources.checkpoint(clips.checkpoint)
    # Clips by audio condition follow from the reference's sounds; those of prompts do not.
    name = f"clips-{reference.digest}" if clips.condition == "audio" else "clips"
    folder = work.row_folder(row) / name
    content = [checkpoint, work.digest(checkpoint)]

    def make_clips():
        return make(work, reference, checkpoint, clips.generation, folder, clips.condition)

    return [work.point(row, reference, make_clips, content)]


def make(
    work: Work,
    reference: Reference,
    checkpoint: str,
    generation: Generation,
    folder: Path,
    condition: str = "text",
) -> tuple[ClipSet, dict]:
    """Generates a clip for each of the reference; (their set, their manifest).

    Goes on in a folder that holds some of them. condition: "text", or "audio" for CLAP's vector of
    the reference clip. Raises InputError and NumericalError.
    """
    settings = work.settings
    opened = open_checkpoint(checkpoint, settings.dtype, progress=settings.progress)
    if condition == "audio" and not (opened.config.unet.film and opened.config.has_audio_tower):
        raise InputError(
            f"{checkpoint}: an audio condition takes AudioLDM with CLAP's audio tower; convert the "
            "authors' file, which holds it"
        )
    speaks = bool(opened.config.phonemes)
    prompts = [
        ClipPrompt(clip.name, VOICE if speaks else clip.caption, clip.transcript, clip.labels)
        for clip in reference.clips
    ]
    arguments = dataclasses.asdict(generation)
    seconds = reference.corpus.seconds
    plan = plan_generation(
        opened,
        prompts,
        folder,
        GenerationSettings(seconds=seconds, batch=settings.batch, **arguments),
        condition=condition,
    )
    conditions = audio_conditions(reference) if condition == "audio" else None
    manifest = generate_clips(plan, conditions=conditions, progress=settings.progress)
    return open_generated(plan, prompts, work.plan.protocol), manifest


def audio_conditions(reference: Reference) -> Conditions:
    """CLAP's vectors of reference clips by number. A clip that cannot be read is an InputError."""

    def features(pipe, numbers: Sequence[int]) -> np.ndarray:
        vectors = []
        for i in numbers:
            clip = reference.clips[i]
            try:
                wave = reference.clip_set.read(clip, _HEARD, _HEARD_RATE)
            except Unreadable as error:
                raise InputError(f"{reference.clip_set.name}: {clip.name}: {error}") from None
            vectors.append(pipe.audio_features(wave[None], _HEARD_RATE))
        return np.concatenate(vectors)

    return features


def joined(clips: Sequence, name: str, protocol: EvalProtocol) -> ClipSet:
    """A set of clips from several places."""
    return ClipSet(name, list(clips), Problems(), protocol)
