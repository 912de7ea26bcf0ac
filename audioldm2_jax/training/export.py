"""A run's trained parts as a checkpoint: a model for the pipeline, or one part alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
from ml_collections import ConfigDict

from audioldm2_jax import files
from audioldm2_jax.checkpoints import hub, lora, single
from audioldm2_jax.data.corpus.writer import CLASSES
from audioldm2_jax.errors import InputError
from audioldm2_jax.training import entries
from audioldm2_jax.training.base_checkpoint import open_base_checkpoint
from audioldm2_jax.training.lora import PART
from audioldm2_jax.training.run import Run, open_run, read_classes, read_scale
from audioldm2_jax.training.state import state_shapes, state_shardings
from audioldm2_jax.training.states import SavedStates


def export(
    workdir, target, *, weights: str = "auto", onto: str = "", step: int | None = None
) -> int:
    """Writes target from a state in workdir; returns its step.

    With a base checkpoint, target is that model with the trained parts in place of its own, in the
    hub layout, which the pipeline and diffusers load; without one, it is the one part alone; with
    LoRA, it is one safetensors file. weights: ema, raw, or auto, the average where there is one;
    onto: another checkpoint of the same configuration for the other parts, so that parts which were
    trained side by side come together; step: of the state, by default the last. Raises InputError.
    """
    workdir, target = files.user_path(workdir), files.user_path(target)
    config = read_run(workdir)
    if config.lora and target.suffix != ".safetensors":
        raise InputError(f"{target}: LoRA is one file; name it FILE.safetensors")
    if config.lora and target.is_dir():
        raise InputError(f"{target}: it is a folder; name a file for the LoRA")
    if not config.lora:
        files.check_new(target)
    run = _open(workdir, config)
    if onto:
        run = _onto(run, onto)
    step, trained = trained_parts(run, workdir, weights, step)
    try:
        _write(run, workdir, target, trained)
    except OSError as error:
        raise files.cannot(target, "write", error) from None
    return step


def read_run(workdir: Path) -> ConfigDict:
    """The configuration of the run in a folder. Raises InputError if it holds none, or damaged."""
    path = workdir / "config.json"
    if not path.is_file():
        raise InputError(f"{workdir}: no config.json there; it is not the folder of a run")
    try:
        config = ConfigDict(files.read_json(path))
        entries.check(config)
    except (InputError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not as a run writes it ({error})") from None
    return config


def _open(workdir: Path, config: ConfigDict) -> Run:
    """The run on this machine's devices."""
    with config.unlocked():
        config.mesh = ConfigDict({"data": -1, "fsdp": 1, "context": 1, "tensor": 1})
        config.batch = config.accumulate * jax.device_count()
    known = workdir / CLASSES
    classes = read_classes(known) if known.is_file() else ()
    return open_run(config, classes=classes, stored=True)


def _write(run: Run, workdir: Path, target: Path, trained: dict) -> None:
    """The file or the folder of the trained parts."""
    if run.config.lora:
        target.parent.mkdir(parents=True, exist_ok=True)
        lora.save(trained[PART], target)
        return
    if run.config.base_checkpoint and not run.spec.standalone:
        path = workdir / "latent_scale.json"
        hub.save(run.full_checkpoint(trained, read_scale(path) if path.is_file() else None), target)
        return
    if len(trained) != 1:
        raise InputError(
            f"{workdir}: several parts without a base checkpoint; name one with "
            "config.base_checkpoint"
        )
    ((name, params),) = trained.items()
    settings = run.spec.standalone or getattr(run.base.model, name)
    tokenizer = run.base.tokenizers.get(run.spec.tokenizer)
    single.save(single.Single(name, settings, params, tokenizer), target)


def _onto(run: Run, name: str) -> Run:
    """The run with another base checkpoint. Raises InputError where parts differ."""
    if run.config.lora or not run.config.base_checkpoint or run.spec.standalone:
        raise InputError("--onto: what this run has trained is no part of a checkpoint")
    other = open_base_checkpoint(name, run.config.preset)
    for part in run.spec.exports:
        if getattr(other.model, part) != getattr(run.base.model, part):
            raise InputError(f"--onto {name}: its {part} is of another configuration")
    return dataclasses.replace(run, base=other)


def trained_parts(
    run: Run, workdir: Path, weights: str = "auto", step: int | None = None
) -> tuple[int, dict]:
    """(step, parameters by part) of a state, by default the last. Raises InputError if none is."""
    folder, stage = workdir / "checkpoints", run.spec.stage
    if weights == "ema" and not stage.ema:
        raise InputError(f"--weights ema: stage {stage.name} keeps no average")
    if not folder.is_dir():
        raise InputError(f"{workdir}: no state has been saved yet")
    shapes = state_shapes(stage)
    with SavedStates(folder, every=1) as saved:
        if saved.latest is None:
            raise InputError(f"{workdir}: no state has been saved yet")
        state, _ = saved.restore(shapes, state_shardings(stage, run.mesh), step)
    chosen = state.params if weights == "raw" else state.params | state.ema
    return int(state.step), run.exported(chosen)
