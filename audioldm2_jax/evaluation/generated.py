"""Generates the clips that are to be evaluated: on all devices, resumable clip by clip.

A folder of clips has a manifest beside it, `FOLDER.generation.json`, which says how each was made;
another run goes on in the folder only with the same settings.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import soundfile

from audioldm2_jax import distributed, files
from audioldm2_jax.audio import save_audio
from audioldm2_jax.checkpoints import download
from audioldm2_jax.data.ingest.audio_files import NOT_FINITE
from audioldm2_jax.data.ingest.file_ref import Unreadable
from audioldm2_jax.errors import InputError, NumericalError, note
from audioldm2_jax.evaluation.clips import Clip, ClipSet, open_clips
from audioldm2_jax.evaluation.rules import EvalProtocol
from audioldm2_jax.log import Counter
from audioldm2_jax.pipelines.file_names import check_name, identity, split
from audioldm2_jax.pipelines.loading import OpenCheckpoint
from audioldm2_jax.pipelines.memory import check_memory, check_model
from audioldm2_jax.pipelines.output import check_writable
from audioldm2_jax.pipelines.request import Request, check_request
from audioldm2_jax.pipelines.text_to_audio import Pipeline
from audioldm2_jax.version import __version__

# CLAP features [P, D] of the clips of these numbers, as `Pipeline.run` takes clap_features.
Conditions = Callable[[Pipeline, Sequence[int]], np.ndarray]
# Entries of a manifest that may differ between the runs that fill a folder.
_BESIDE_SETTINGS = ("clips", "failed", "samples", "sample_rate", "device", "versions")


@dataclass(frozen=True)
class ClipPrompt:
    """What one clip is made of. name: of its file; folders in it are kept. labels: its classes."""

    name: str
    prompt: str
    transcript: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class GenerationSettings:
    """How all clips are made; each as of `Pipeline.__call__`. batch: clips at once, which changes
    none of them.
    """

    seconds: float | None = None
    steps: int = 25
    sampler: str | None = None
    eta: float = 0.0
    guidance: float | None = None
    candidates: int = 1
    seed: int = 0
    negative_prompt: str | None = None
    batch: int = 4


@dataclass(frozen=True)
class Generation:
    """A checked plan: nothing is loaded or written yet. record: the manifest so far."""

    opened: OpenCheckpoint
    folder: Path
    names: tuple[str, ...]
    request: Request
    batch: int
    record: dict


def manifest_path(folder) -> Path:
    """Where a folder's manifest lies: beside it, so that the folder holds sounds alone."""
    folder = Path(folder)
    return folder.with_name(f"{folder.name}.generation.json")


def read_manifest(folder) -> dict | None:
    """How a folder's clips were generated, None where nothing says so. Raises InputError."""
    path = manifest_path(files.user_path(folder))
    if not path.exists():
        return None
    record = files.read_json(path)
    if not isinstance(record.get("clips"), dict):
        raise InputError(f"{path}: not a manifest of generated clips; delete it or move it away")
    return record


def plan_generation(
    opened: OpenCheckpoint,
    prompts: Sequence[ClipPrompt],
    folder,
    settings: GenerationSettings,
    *,
    condition: str = "text",
) -> Generation:
    """Checks all that can be checked before weights are read.

    condition: what the manifest says the clips are conditioned on. Clip i is clip i of the seed, so
    that a longer list keeps the clips of a shorter one. Raises InputError for prompts and settings
    that the model cannot use, for names that no file can have, for a folder that cannot be written
    or that holds clips of other settings.
    """
    folder = files.user_path(folder)
    names = _file_names(prompts)
    transcripts = [prompt.transcript for prompt in prompts]
    speaks = bool(opened.config.phonemes)
    if speaks and not all(transcripts):
        missing = names[[bool(text) for text in transcripts].index(False)]
        raise InputError(f"{missing}: {opened.source} speaks, and this clip has no transcript")
    fields = (field.name for field in dataclasses.fields(settings))
    arguments = {name: getattr(settings, name) for name in fields if name != "batch"}
    request = check_request(
        opened.config,
        opened.convention,
        prompt=[prompt.prompt for prompt in prompts],
        transcription=transcripts if speaks else None,
        source=opened.source,
        **arguments,
    )
    check_model(opened.config, opened.dtype, opened.source)
    check_memory(opened.config, request.part(0, settings.batch), opened.dtype)
    check_writable(folder)
    record = _record(opened, request, names, prompts) | {"condition": condition}
    return Generation(opened, folder, names, request, settings.batch, _merged(folder, record))


def generate_clips(
    plan: Generation, *, conditions: Conditions | None = None, progress: bool = True
) -> dict:
    """Generates the clips that are missing; returns the manifest.

    conditions: in place of the prompts' CLAP features. Each clip is written as soon as its batch is
    finished, 16-bit WAV as the network made it. Of several processes each generates its share. A
    clip whose result is not finite is left out and named under "failed". Raises InputError where a
    file cannot be written, and NumericalError if no clip at all is finite.
    """
    record, rate = plan.record, plan.opened.config.vocoder.sample_rate
    missing = [
        i
        for i, name in enumerate(plan.names)
        if name not in record["failed"]
        and not is_whole(plan.folder / name, rate, record["samples"])
    ]
    # By number: processes that start later see fewer clips missing.
    own = [i for i in missing if i % jax.process_count() == jax.process_index()]
    failed: list[str] = []
    if own:
        _write(plan, record)
        _generate_all(plan, own, failed, conditions, progress)
    shares = distributed.gather_bytes(json.dumps(failed).encode())
    record["failed"] = sorted(
        {*record["failed"], *(n for part in shares for n in json.loads(part))}
    )
    if len(record["failed"]) == len(plan.names):
        raise NumericalError(f"{plan.opened.source}: no clip is finite; try --dtype fp32")
    if missing:
        _write(plan, record)
    return record


def _generate_all(
    plan: Generation,
    own: list[int],
    failed: list[str],
    conditions: Conditions | None,
    progress: bool,
) -> None:
    """Generates clips in batches. failed: gets the names of those that are not finite."""
    pipe, record = Pipeline.from_opened(plan.opened), plan.record
    counter = Counter(f"generating {plan.folder}", len(own), visible=progress)
    for start in range(0, len(own), plan.batch):
        numbers = own[start : start + plan.batch]
        samples = _generate(pipe, plan, numbers, failed, conditions)
        if samples and record["samples"] is None:
            record["samples"] = samples
            _write(plan, record)
        counter.add(len(numbers))


def _generate(
    pipe: Pipeline,
    plan: Generation,
    numbers: list[int],
    failed: list[str],
    conditions: Conditions | None = None,
) -> int:
    """Generates and writes clips; returns their length in samples, 0 if none is finite."""
    clips = tuple(plan.request.clips[i] for i in numbers)
    try:
        request = dataclasses.replace(plan.request, clips=clips)
        vectors = conditions(pipe, numbers) if conditions else None
        output = pipe.run(request, clap_features=vectors, progress=False)
    except NumericalError:
        if len(numbers) > 1:
            return max(_generate(pipe, plan, [i], failed, conditions) for i in numbers)
        failed.append(plan.names[numbers[0]])
        note(f"{failed[-1]}: the result is not finite; the clip is left out")
        return 0
    for i, wave in zip(numbers, output.audio):
        path = plan.folder / plan.names[i]
        files.make_folder(path.parent)
        save_audio(path, wave.clip(-1, 1), output.sample_rate)
    return output.audio.shape[1]


def open_generated(
    plan: Generation, prompts: Sequence[ClipPrompt], protocol: EvalProtocol
) -> ClipSet:
    """The generated clips, under the names and with the texts of their prompts.

    Clips of the folder that are not of the plan are left out. One whose result was not finite is
    in the set and cannot be used, as its file could not.
    """
    opened = open_clips(plan.folder, protocol)
    sources = {clip.name: clip for clip in opened.clips}
    clips = [
        dataclasses.replace(
            sources.get(name, Clip(name, _NotFinite())),
            name=p.name,
            caption=p.prompt,
            transcript=p.transcript,
            labels=p.labels,
        )
        for name, p in zip(plan.names, prompts)
        if name in sources or name in plan.record["failed"]
    ]
    return ClipSet(opened.name, clips, opened.problems, protocol)


class _NotFinite:
    """The source of a clip whose result was not finite."""

    def read(self) -> bytes:
        raise Unreadable(NOT_FINITE)


def is_whole(path: Path, sample_rate: int, samples: int | None) -> bool:
    """Whether a sound file is there, of this rate and, where it is known, of this length."""
    try:
        info = soundfile.info(path)
    except (soundfile.SoundFileError, OSError):
        return False
    return info.samplerate == sample_rate and info.frames == (samples or info.frames) > 0


def _file_names(prompts: Sequence[ClipPrompt]) -> tuple[str, ...]:
    """Names of WAV files, distinct and inside their folder. Raises InputError."""
    names, owners = [], {}
    if not prompts:
        raise InputError("no prompts: the list, or the captions of the reference, are empty")
    for prompt in prompts:
        *parents, last = prompt.name.split("/")
        parts = [split(check_name(part))[0] for part in parents] + [check_name(last)]
        name = "/".join([*parts[:-1], f"{split(parts[-1])[0]}.wav"])
        if (key := identity(name)) in owners:
            raise InputError(f"{prompt.name}: its file {name} would be that of {owners[key]}, too")
        owners[key] = prompt.name
        names.append(name)
    return tuple(names)


def _record(opened, request: Request, names, prompts: Sequence[ClipPrompt]) -> dict:
    """A new manifest: settings, and what each file is made of."""
    first, sampling = request.clips[0], request.sampling
    return {
        "model": opened.source,
        "weights": weights_digest(opened.source),
        "convention": opened.convention.name,
        "dtype": jax.numpy.dtype(opened.dtype).name,
        "sampler": sampling.sampler,
        "steps": sampling.steps,
        "eta": sampling.eta,
        "seconds": request.duration.seconds,
        "guidance": first.guidance,
        "candidates": first.candidates,
        "seed": first.seed,
        "negative_prompt": first.negative_prompt,
        "sample_rate": opened.config.vocoder.sample_rate,
        "samples": None,
        "device": jax.devices()[0].device_kind,
        "versions": {"audioldm2_jax": __version__, "jax": jax.__version__},
        "failed": [],
        "clips": {
            name: {"prompt": prompt.prompt, "transcript": prompt.transcript, "clip": clip.clip}
            for name, prompt, clip in zip(names, prompts, request.clips)
        },
    }


def weights_digest(source: str) -> str | None:
    """sha256 of a local checkpoint's files; None for one of the hub, whose name tells it."""
    path = download.bundled().get(source) or files.user_path(source)
    if not path.exists():
        return None
    names = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    digest = hashlib.sha256()
    try:
        for name in names:
            digest.update(name.relative_to(path).as_posix().encode("utf-8", "surrogateescape"))
            with open(name, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        raise files.cannot(path, "read", error) from None
    return digest.hexdigest()


def _merged(folder: Path, record: dict) -> dict:
    """The record with the clips that the folder's manifest has besides.

    Raises InputError if its settings, or a clip's prompt, are others.
    """
    path = manifest_path(folder)
    old = read_manifest(folder)
    if old is None:
        if folder.is_dir() and any(folder.iterdir()):
            raise InputError(
                f"{folder}: holds files of which no {path.name} says how they were generated; "
                "choose another folder, or leave out --model to evaluate them"
            )
        return record
    for key in record.keys() - set(_BESIDE_SETTINGS):
        if old.get(key) != record[key]:
            raise InputError(
                f"{folder}: its clips were generated with {key} {short(old.get(key))}, not "
                f"{short(record[key])}; choose another folder, or delete this one and {path.name}"
            )
    for name in old["clips"].keys() & record["clips"].keys():
        if old["clips"][name] != record["clips"][name]:
            raise InputError(
                f"{folder}: {name} was generated of another prompt, or stood elsewhere in the "
                "list; choose another folder"
            )
    progress_entries = {"samples": old.get("samples"), "failed": old.get("failed", [])}
    return record | progress_entries | {"clips": old["clips"] | record["clips"]}


def short(value) -> str:
    """A value for one line: at most 40 characters."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _write(plan: Generation, record: dict) -> None:
    if distributed.is_main():
        files.make_folder(plan.folder)
        files.write_json(manifest_path(plan.folder), record)
