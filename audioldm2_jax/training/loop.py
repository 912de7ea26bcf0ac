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
from audioldm2_jax.data.loading.stream import Examples
from audioldm2_jax.errors import InputError
from audioldm2_jax.training import entries, metrics
from audioldm2_jax.training.checkpoints import Checkpoints
from audioldm2_jax.training.console import Console
from audioldm2_jax.training.hooks import hooks_of
from audioldm2_jax.training.rehearse import check_encoded
from audioldm2_jax.training.remarks import check_texts, remarks
from audioldm2_jax.training.run import (
    Run,
    frozen_parts,
    open_batches,
    open_run,
    read_scale,
    sources_of,
    step_of,
)
from audioldm2_jax.training.state import init_sharded, init_state, state_shardings
from audioldm2_jax.training.step import donated_argnums
from audioldm2_jax.training.stopping import Stopping


def train(config: ConfigDict, workdir, *, quiet: bool = False, hooks=()) -> dict[str, float]:
    """Trains to config.steps, from the last state in workdir if there is one; the last metrics.

    hooks: called as hook(step, state, frozen) -> metrics every `hook.every` steps, before
    the first and after the last one, behind those that the configuration asks for (validation,
    samples). SIGTERM and Ctrl-C save and end the run, without hooks; Ctrl-C raises
    KeyboardInterrupt then, and at once when it comes again or before the first step. Raises
    InputError, also when too many steps in a row are not finite, naming the step and the clips.
    """
    enable_cache()
    console = Console(quiet=quiet or not distributed.is_main())
    workdir = files.user_path(workdir)
    # What needs no model comes first, for large ones take minutes to open.
    entries.check(config)
    previous = _check_workdir(workdir, config)
    _check_corpora(config)
    with console.work("opening the start"):
        run = open_run(config)
    # Data first: a run that cannot read them leaves nothing behind.
    with jax.set_mesh(run.mesh), open_batches(run) as batches:
        for line in (*check_texts(run), *remarks(run, batches.clips)):
            console.say(line)
        _make(workdir)
        main = distributed.is_main()
        about = {"wandb": config.wandb, "config": config.to_dict()}
        with (
            metrics.Writer(workdir, console, main=main, **about) as writer,
            _checkpoints(workdir, config) as saved,
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
    if first >= config.steps:
        console.say(
            f"{workdir}: the run is at step {first} of {config.steps}; raise steps to go on"
        )
    else:
        console.say(f"{config.stage}: steps {first} to {config.steps} in {workdir}")
    batch = None
    if first < config.steps:
        with console.work("reading the first batch"):
            batch = next(batches)
    check_encoded(run, batch or {})
    last, step, clock = {}, None, metrics.Clock()
    with console.work("loading the frozen parts"):
        frozen = frozen_parts(run, batch or ("waveform",))
    if batch is not None and config.latent_scale == "batch":
        frozen["scale"] = _latent_scale(run, frozen, batch, workdir)
    shown = writer if distributed.is_main() else None
    hooks = (*hooks_of(run, batch, shown), *hooks)
    if first == 0:
        _hooked(hooks, 0, True, state, frozen, writer, clock)
    for number in range(first, config.steps):
        batch = batch if number == first else clock.wait(lambda: next(batches))
        if step is None:
            step, flops = _compiled(run, placed, state, frozen, batch, console)
            console.begin(config.stage, first, config.steps)
            clock.restart()
        state, found = step(state, frozen, arrays(batch))
        clock.steps += 1
        done, told = number + 1, stopping.asked(number + 1)
        last_step = done == config.steps
        console.advance(found[loss_of(found)], config.batch)
        if done % config.log_every == 0 or last_step or told:
            last = {k: float(v) for k, v in jax.device_get(found).items()}
            _check_finite(last, config, done, batch)
            last |= clock.report(config.batch, flops)
            writer.write(done, last)
        # A job that is told to end may have seconds left: its state comes before all else.
        saved.save(done, state, batches.state(), now=last_step or told)
        if told and not last_step:
            console.say(f"told to end; saving step {done}: the same command goes on from there")
            break
        last |= _hooked(hooks, done, last_step, state, frozen, writer, clock)
    return last


def loss_of(metrics: dict) -> str:
    """The metric to show: the loss, of the last group where there are several."""
    return [name for name in metrics if name == "loss" or name.endswith("/loss")][-1]


def _checkpoints(workdir: Path, config: ConfigDict) -> Checkpoints:
    return Checkpoints(
        workdir / "checkpoints",
        every=config.save_every,
        keep=config.keep,
        keep_every=config.keep_every,
    )


def _hooked(hooks, done: int, over: bool, state, frozen, writer, clock) -> dict[str, float]:
    """What the hooks find whose turn it is; at the end it is everybody's."""
    due = [hook for hook in hooks if over or done % hook.every == 0]
    found: dict[str, float] = {}
    for hook in due:
        found |= hook(done, state, frozen)
    if found:
        writer.write(done, found)
    if due:
        clock.restart()
    return found


def _check_workdir(workdir: Path, config: ConfigDict) -> dict:
    """The configuration of the run that lies there, {} for none.

    Raises InputError where another stage's run lies, a file, or a damaged configuration.
    """
    if workdir.exists() and not workdir.is_dir():
        raise InputError(f"{workdir}: it is a file; --workdir is the folder of a run")
    path = workdir / "config.json"
    if not path.exists():
        return {}
    found = files.read_json(path)
    if (stage := found.get("stage")) != config.stage:
        raise InputError(f"{workdir}: holds a run of stage {stage}; choose another folder")
    return found


def _check_corpora(config: ConfigDict) -> None:
    """Raises InputError for a corpus, or a split of it, that is not there."""
    validation = config.validation
    held = validation.sources if validation.every else ""
    for texts in (config.data.sources, held) if held else (config.data.sources,):
        for source in sources_of(texts):
            Examples(source)


def _make(workdir: Path) -> None:
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{workdir}: cannot write there ({error.strerror or error})") from None


def _keep_config(workdir: Path, run: Run) -> None:
    """The configuration that the run's states are of, once they are known to be."""
    if distributed.is_main():
        files.write_json(workdir / "config.json", run.config.to_dict())
        if run.classes:
            files.write_json(workdir / CLASSES, run.classes)


def _state(run: Run, saved: Checkpoints, batches: Batches, console: Console, previous: dict):
    """(the last saved state, or a fresh one that begins with the start's weights; shardings).

    previous: the configuration that the folder's states are of.
    """
    stage, placed = run.spec.stage, state_shardings(run.spec.stage, run.mesh)
    if saved.latest is not None:
        shapes = jax.eval_shape(lambda key: init_state(stage, key), jax.random.key(0))
        with console.work(f"restoring step {saved.latest}"):
            try:
                state, data = saved.restore(shapes, placed)
            except InputError as error:
                changed = entries.changes(previous, run.config)
                raise InputError(f"{error}{changed}") from None
        batches.restore(data)
        return state, placed
    start = {}
    if run.config.begin and run.config.start:
        with console.work("loading the start's weights"):
            start = run.start.load(run.spec.init_from_base, jnp.float32)
            start = {name: run.spec.unmerge(params) for name, params in start.items()}
    with console.work("making the first state"):
        state = jax.block_until_ready(init_sharded(stage, run.mesh, run.config.seed, start))
    return state, placed


def _compiled(run: Run, placed, state, frozen, batch, console):
    """The step for these shapes, and its FLOPs on one device."""
    step = step_of(run)
    whole = sharding.replicated(run.mesh)
    jitted = jax.jit(step, donate_argnums=donated_argnums(), out_shardings=(placed, whole))
    with console.work("compiling the step"):
        compiled = jitted.lower(state, frozen, arrays(batch)).compile()
    costs = compiled.cost_analysis() or {}
    return compiled, costs.get("flops")


def _check_finite(found: dict, config, step: int, batch: dict) -> None:
    if found["skipped"] >= config.max_skipped:
        names = ", ".join(map(str, batch["id"][:4]))
        raise InputError(
            f"step {step}: loss or gradient not finite for {found['skipped']:.0f} steps in a row; "
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
