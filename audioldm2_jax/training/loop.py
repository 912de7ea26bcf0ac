"""The loop of every stage: restore, iterate, report, save, stop cleanly."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from audioldm2_jax import distributed, files, sharding
from audioldm2_jax.backend import enable_cache
from audioldm2_jax.data.corpus.writer import CLASSES
from audioldm2_jax.data.loading.batches import Batches, arrays
from audioldm2_jax.data.loading.stream import ExampleSource
from audioldm2_jax.errors import InputError, NumericalError
from audioldm2_jax.training import entries, metrics
from audioldm2_jax.training.console import Console
from audioldm2_jax.training.hooks import hooks_of
from audioldm2_jax.training.remarks import check_texts, remarks
from audioldm2_jax.training.run import (
    Run,
    frozen_parts,
    jitted_step,
    open_batches,
    open_run,
    read_scale,
    sources_of,
)
from audioldm2_jax.training.shapes import check_encoded
from audioldm2_jax.training.state import init_sharded, state_shapes, state_shardings
from audioldm2_jax.training.states import SavedStates
from audioldm2_jax.training.stopping import Stopping


def train(config: ConfigDict, workdir, *, quiet: bool = False, hooks=()) -> dict[str, float]:
    """Trains to config.steps, from the last state in workdir if there is one; the last metrics.

    hooks: called as hook(step, state, frozen) -> metrics every `hook.every` steps, before
    the first and after the last one, behind those that the configuration asks for (validation,
    samples). SIGTERM and Ctrl-C save and end the run, without hooks; Ctrl-C raises
    KeyboardInterrupt then, and at once when it comes again or before the first step. Raises
    InputError, and NumericalError when too many steps in a row are not finite, naming the step and
    the clips.
    """
    enable_cache()
    console = Console(quiet=quiet or not distributed.is_main())
    workdir = files.user_path(workdir)
    # What needs no model comes first, for large ones take minutes to open.
    entries.check(config)
    previous = _check_workdir(workdir, config)
    _check_corpora(config)
    with console.timed("opening the base checkpoint"):
        run = open_run(config)
    # Data first: a run that cannot read them leaves nothing behind.
    with jax.set_mesh(run.mesh), open_batches(run) as batches:
        for line in (*check_texts(run), *remarks(run, batches.clips)):
            console.log(line)
        _make_folder(workdir)
        options = {"wandb": config.wandb, "config": config.to_dict()}
        with (
            metrics.Writer(workdir, console, main=distributed.is_main(), **options) as writer,
            _saved_states(workdir, config) as saved,
            Stopping() as stopping,
        ):
            try:
                last = _steps(run, workdir, batches, writer, saved, stopping, hooks, previous)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                raise _memory(config, error) from None
    stopping.end()
    return last


def _memory(config: ConfigDict, error: Exception) -> InputError:
    line = " ".join(str(error).split())[:160]
    return InputError(
        f"stage {config.stage}: the device's memory does not hold a batch of {config.batch} "
        f"({line}); lower batch, or raise accumulate, or set remat=blocks"
    )


def _steps(run: Run, workdir: Path, batches, writer, saved, stopping, hooks, previous):
    """From the last state to the last step; the last metrics."""
    config, console = run.config, writer.console
    state, placed = _state(run, saved, batches, console, previous)
    _keep_config(workdir, run)
    first = int(state.step)
    _announce(console, config, workdir, first)
    batch = None
    if first < config.steps:
        with console.timed("reading the first batch"):
            batch = next(batches)
    frozen = _frozen(run, batch, workdir, console)
    hooks = (*hooks_of(run, batch, writer if distributed.is_main() else None), *hooks)
    last, step, clock = {}, None, metrics.Clock()
    if first == 0:
        _call(hooks, 0, True, state, frozen, writer, clock)
    for number in range(first, config.steps):
        batch = batch if number == first else clock.wait(lambda: next(batches))
        if step is None:
            step, flops = _compile(run, placed, state, frozen, batch, console)
            console.begin(config.stage, first, config.steps)
            clock.restart()
        state, step_metrics = step(state, frozen, arrays(batch))
        clock.steps += 1
        done = number + 1
        stop, is_last = stopping.requested(done), done == config.steps
        console.advance(step_metrics[loss_of(step_metrics)], config.batch)
        if done % config.log_every == 0 or is_last or stop:
            last = {k: float(v) for k, v in jax.device_get(step_metrics).items()}
            _check_finite(last, config, done, batch)
            last |= clock.report(config.batch, flops)
            writer.write(done, last)
        # A job that must stop may have seconds left: its state comes before all else.
        saved.save(done, state, batches.state(), now=is_last or stop)
        if stop and not is_last:
            console.log(f"told to end; saving step {done}: the same command goes on from there")
            break
        last |= _call(hooks, done, is_last, state, frozen, writer, clock)
    return last


def _announce(console: Console, config: ConfigDict, workdir: Path, first: int) -> None:
    if first >= config.steps:
        console.log(
            f"{workdir}: the run is at step {first} of {config.steps}; raise steps to go on"
        )
    else:
        console.log(f"{config.stage}: steps {first} to {config.steps} in {workdir}")


def _frozen(run: Run, batch: dict | None, workdir: Path, console: Console) -> dict:
    """Frozen parameters for such batches; batch: None where no step is left."""
    check_encoded(run, batch or {})
    with console.timed("loading the frozen parts"):
        frozen = frozen_parts(run, batch or ("waveform",))
    if batch is not None and run.config.latent_scale == "batch":
        frozen["scale"] = _latent_scale(run, frozen, batch, workdir)
    return frozen


def loss_of(metrics: dict) -> str:
    """Name of the loss, of the last group where there are several."""
    return [name for name in metrics if name == "loss" or name.endswith("/loss")][-1]


def _saved_states(workdir: Path, config: ConfigDict) -> SavedStates:
    return SavedStates(
        workdir / "checkpoints",
        every=config.save_every,
        keep=config.keep,
        keep_every=config.keep_every,
    )


def _call(hooks, step: int, is_last: bool, state, frozen, writer, clock) -> dict[str, float]:
    """Metrics of the hooks that are due at this step; all are at the last one."""
    due = [hook for hook in hooks if is_last or step % hook.every == 0]
    values: dict[str, float] = {}
    for hook in due:
        values |= hook(step, state, frozen)
    if values:
        writer.write(step, values)
    if due:
        clock.restart()
    return values


def _check_workdir(workdir: Path, config: ConfigDict) -> dict:
    """The configuration of the run in the folder, {} for none.

    Raises InputError for a run of another stage, a file, or a damaged configuration.
    """
    if workdir.exists() and not workdir.is_dir():
        raise InputError(f"{workdir}: it is a file; --workdir is the folder of a run")
    path = workdir / "config.json"
    if not path.exists():
        return {}
    previous = files.read_json(path)
    if (stage := previous.get("stage")) != config.stage:
        raise InputError(f"{workdir}: holds a run of stage {stage}; choose another folder")
    return previous


def _check_corpora(config: ConfigDict) -> None:
    """Raises InputError for a corpus, or a split of it, that is not there."""
    validation = config.validation
    held_out = validation.sources if validation.every else ""
    for texts in (config.data.sources, held_out) if held_out else (config.data.sources,):
        for source in sources_of(texts):
            ExampleSource(source)


def _make_folder(workdir: Path) -> None:
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{workdir}: cannot write there ({error.strerror or error})") from None


def _keep_config(workdir: Path, run: Run) -> None:
    """Writes the configuration, once the states are known to fit it."""
    if distributed.is_main():
        files.write_json(workdir / "config.json", run.config.to_dict())
        if run.classes:
            files.write_json(workdir / CLASSES, run.classes)


def _state(run: Run, saved: SavedStates, batches: Batches, console: Console, previous: dict):
    """(the last saved state, or a new one; its shardings).

    previous: the configuration of the folder's states.
    """
    stage, placed = run.spec.stage, state_shardings(run.spec.stage, run.mesh)
    if saved.latest is not None:
        with console.timed(f"restoring step {saved.latest}"):
            try:
                state, data = saved.restore(state_shapes(stage), placed)
            except InputError as error:
                changed = entries.changes(previous, run.config)
                raise InputError(f"{error}{changed}") from None
        batches.restore(data)
        return state, placed
    weights = {}
    if run.config.init_from_base and run.config.base_checkpoint:
        with console.timed("loading the base checkpoint's weights"):
            weights = run.base.load(run.spec.init_from_base, jnp.float32)
            weights = {name: run.spec.unmerge(params) for name, params in weights.items()}
    with console.timed("initialising the state"):
        state = jax.block_until_ready(init_sharded(stage, run.mesh, run.config.seed, weights))
    return state, placed


def _compile(run: Run, placed, state, frozen, batch, console):
    """The step for these shapes, and its FLOPs on one device."""
    with console.timed("compiling the step"):
        compiled = jitted_step(run, placed).lower(state, frozen, arrays(batch)).compile()
    costs = compiled.cost_analysis() or {}
    return compiled, costs.get("flops")


def _check_finite(values: dict, config, step: int, batch: dict) -> None:
    if values["skipped"] >= config.max_skipped:
        names = ", ".join(map(str, batch["id"][:4]))
        raise NumericalError(
            f"step {step}: loss or gradient not finite for {values['skipped']:.0f} steps in a row; "
            f"the last batch begins with {names}. Lower optim.learning_rate, or use dtype fp32"
        )


def _latent_scale(run: Run, frozen: dict, batch: dict, workdir: Path):
    """One over the deviation of the first batch's latents, kept beside the run."""
    path = workdir / "latent_scale.json"
    if not path.is_file():
        mean = jax.jit(run.spec.latent_mean)(frozen, arrays(batch))
        scale = float(1.0 / jnp.std(mean.astype(jnp.float32)))
        if distributed.is_main():
            files.write_json(path, scale)
    else:
        scale = read_scale(path)
    return jax.device_put(np.float32(scale), sharding.replicated(run.mesh))
