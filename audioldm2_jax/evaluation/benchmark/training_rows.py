"""Rows of training runs: what they cost, the run itself, and scores of its states."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

from audioldm2_jax import distributed, files
from audioldm2_jax.data.corpus import reader
from audioldm2_jax.data.corpus.prepare import prepare
from audioldm2_jax.data.ingest.clip_record import ClipRecord
from audioldm2_jax.data.ingest.file_ref import FileRef, Unreadable
from audioldm2_jax.data.ingest.report import Report
from audioldm2_jax.errors import InputError, note
from audioldm2_jax.evaluation.benchmark.generated_rows import make
from audioldm2_jax.evaluation.benchmark.references import open_reference, wav_name
from audioldm2_jax.evaluation.benchmark.table_results import Point
from audioldm2_jax.evaluation.benchmark.work import Work, json_digest
from audioldm2_jax.evaluation.clips import open_clips
from audioldm2_jax.evaluation.generated import short
from audioldm2_jax.evaluation.protocol import EvalProtocol
from audioldm2_jax.evaluation.tables import Corpus, Row, Training
from audioldm2_jax.training import entries
from audioldm2_jax.training.configuration import read_config
from audioldm2_jax.training.export import export
from audioldm2_jax.training.loop import train
from audioldm2_jax.training.run import sources_of

INPUTS = "inputs.json"  # in a run's folder: what it is trained on and how


def training(work: Work, row: Row) -> list[Point]:
    """Points at the run's steps: trains as far as each, exports, generates, scores.

    Raises InputError and NumericalError as these do.
    """
    assert isinstance(row.clips, Training)
    run, reference = row.clips, work.reference(row.corpus)
    base = work.sources.checkpoint(run.base)
    folder = work.row_folder(row)
    config = run_config(work, row, base)
    inputs = run_inputs(work, config, base)
    if work.settings.progress:
        for line in cost_lines(row, config, len(reference.clips)):
            note(f"{row.name}: {line}")
    points = []
    for step in run.steps:

        def make_clips(step=step):
            check_inputs(folder, inputs)
            clips, target = folder / f"clips-{step}", folder / f"exported-{step}"
            if not (folder / "run" / "checkpoints" / str(step)).exists():
                _train(config, folder / "run", step, quiet=not work.settings.progress)
            if not target.exists():
                export(folder / "run", target, step=step)
            generated = make(work, reference, str(target), run.generation, clips)
            shutil.rmtree(target, ignore_errors=True)
            return generated

        points.append(work.point(row, reference, make_clips, inputs, step))
    return points


def run_config(work: Work, row: Row, base: str):
    """The run's configuration: its states at the steps that are scored stay.

    Raises InputError for values that the configuration does not have.
    """
    assert isinstance(row.clips, Training)
    run, every = row.clips, math.gcd(*row.clips.steps)
    values = [
        f"base_checkpoint={base}",
        f"data.sources={training_source(work, row)}",
        *run.overrides,
        f"steps={run.steps[-1]}",
        f"save_every={every}",
        f"keep_every={every}",
    ]
    return read_config(run.config, [f"--config.{value}" for value in values])


def run_inputs(work: Work, config, base: str) -> dict:
    """All that a run's states follow from: its values, the base's weights, the corpora's bytes."""
    corpora = {source.path for source in sources_of(config.data.sources)}
    digests = {f"bytes of {path}": work.digest(str(Path(path).resolve())) for path in corpora}
    inputs = entries.flat(config) | {f"weights of {base}": work.digest(base)} | digests
    return json.loads(json.dumps(inputs))  # as `check_inputs` reads them


def check_inputs(folder: Path, inputs: dict) -> None:
    """Keeps a run's inputs in its folder. Raises InputError where it has states of others.

    folder: of the row.
    """
    path, advice = folder / "run" / INPUTS, "delete the row's folder, or choose another --output"
    if (path.parent / "config.json").exists():  # a run has begun there
        if not path.is_file():
            raise InputError(f"{path.parent}: no {INPUTS} says what it was trained on; {advice}")
        old = files.read_json(path)
        for name in sorted(old.keys() | inputs.keys()):
            if old.get(name) != inputs.get(name):
                before, now = (short(values.get(name)) for values in (old, inputs))
                raise InputError(f"{folder}: trained with {name} {before}, not {now}; {advice}")
    elif distributed.is_main():
        files.make_folder(path.parent)
        files.write_json(path, inputs)


def _train(config, workdir: Path, step: int, *, quiet: bool) -> None:
    """Goes on with the run as far as a step."""
    part = config.copy_and_resolve_references()
    with part.unlocked():
        part.steps = step
        if config.optim.schedule == "cosine" and not config.optim.steps:
            part.optim.steps = config.steps
    train(part, workdir, quiet=quiet)


def cost_lines(row: Row, config, clips: int) -> list[str]:
    """What a run takes, before it starts. clips: of the evaluation set."""
    assert isinstance(row.clips, Training)
    run, generation = row.clips, row.clips.generation
    states = len(range(config.keep_every, run.steps[-1] + 1, config.keep_every))
    guided = 1 if generation.guidance is not None and generation.guidance <= 1 else 2
    count = len(run.steps) * clips * generation.candidates
    evaluations = count * generation.steps * guided
    return [
        f"{run.steps[-1]} steps of {config.batch} clips, {states} states kept on disk",
        f"{count} generated clips of {generation.steps} steps at {len(run.steps)} scored states, "
        f"{evaluations:.3g} evaluations of the U-Net",
    ]


def training_source(work: Work, row: Row) -> str:
    """`path:split` of the clips that a row trains on: none of them is scored.

    Where the evaluation clips are drawn from the splits of training, a corpus without them is
    written beside the results, once for each content of the corpus. The rows of a corpus share it.
    Raises InputError.
    """
    if row.corpus not in work.training_sources:
        work.training_sources[row.corpus] = _find_source(work, row)
    return work.training_sources[row.corpus]


def _find_source(work: Work, row: Row) -> str:
    corpus, path = row.corpus, work.sources.corpus(row.corpus.name)
    assert path is not None, corpus.name
    if not corpus.train_split:
        raise InputError(f"row {row.name}: its corpus names no train_split")
    if not {*corpus.train_split.split("+")} & {*corpus.split.split("+")}:
        return f"{path}:{corpus.train_split}"
    scored = {clip.name for clip in open_reference(corpus, path, work.plan.protocol).clips}
    origin = [work.digest(str(path.resolve())), corpus.train_split, sorted(scored)]
    target = work.folder / f"{corpus.name}-train-{json_digest(origin)}"
    if not reader.is_corpus(target):
        _write_rest(corpus, path, scored, target, work.plan.protocol)
    return f"{target}:train"


def _write_rest(
    corpus: Corpus, path: Path, scored: set[str], target: Path, protocol: EvalProtocol
) -> None:
    """A corpus of the training splits' clips that are not scored."""
    raw, records = target.with_name(f"{target.name}-raw"), []
    files.make_folder(raw)
    for clip in open_clips(path, protocol, split=corpus.train_split).clips:
        if wav_name(clip.name) in scored:
            continue
        file = raw / f"{len(records):07}.audio"
        try:
            files.write_bytes(file, clip.source.read())
        except Unreadable:
            continue
        texts = {"captions": clip.captions, "labels": clip.labels, "transcript": clip.transcript}
        records.append(ClipRecord(clip.name, FileRef(str(file)), **texts))
    if not records:
        raise InputError(f"{path}: every clip of {corpus.train_split} is scored")
    prepare({"train": records}, target, metadata={"name": target.name}, report=Report())
    shutil.rmtree(raw, ignore_errors=True)
