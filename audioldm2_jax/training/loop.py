"""The loop of every stage: restore, iterate, report, save, stop cleanly."""

from __future__ import annotations

import json
import signal
import threading
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from audioldm2_jax import distributed, sharding
from audioldm2_jax.data import parts as files
from audioldm2_jax.data import records
from audioldm2_jax.data.batches import Batches, arrays
from audioldm2_jax.data.build import CLASSES
from audioldm2_jax.data.elements import Recipe
from audioldm2_jax.data.encoders import encode_posterior
from audioldm2_jax.data.pipeline import DataConfig, Source
from audioldm2_jax.errors import InputError
from audioldm2_jax.training import metrics
from audioldm2_jax.training.checkpoints import Checkpoints
from audioldm2_jax.training.low_rank import adapted
from audioldm2_jax.training.optim import OptimConfig
from audioldm2_jax.training.stages import Plan, plan
from audioldm2_jax.training.start import Start, numbering, open_start
from audioldm2_jax.training.state import born_sharded, init_state, state_shardings
from audioldm2_jax.training.step import make_step

DTYPES = {"fp32": jnp.float32, "bf16": jnp.bfloat16}


@dataclass
class Run:
    """A run's parts, made from its configuration."""

    config: ConfigDict
    start: Start
    plan: Plan
    mesh: jax.sharding.Mesh
    dtype: type
    classes: tuple[str, ...]


def open_run(config: ConfigDict, devices=None) -> Run:
    """Everything but data and weights. Raises InputError for what does not fit together.

    devices: of the mesh, None for all of this job.
    """
    if config.dtype not in DTYPES:
        raise InputError(f"dtype {config.dtype!r}: choose one of {' '.join(DTYPES)}")
    for name in ("batch", "steps", "accumulate", "log_every", "save_every"):
        if config[name] < 1:
            raise InputError(f"{name} is {config[name]}: it must be at least 1")
    mesh = sharding.make_mesh(dict(config.mesh) or None, devices)
    spread = mesh.shape["data"] * mesh.shape["fsdp"]
    if config.batch % (config.accumulate * spread):
        raise InputError(
            f"batch is {config.batch}: it must be a multiple of accumulate x data x fsdp, "
            f"{config.accumulate * spread}"
        )
    dtype, start = DTYPES[config.dtype], open_start(config.start, config.preset)
    classes = _classes(config) if config.stage == "tagger" else ()
    made = plan(
        config.stage,
        start.model,
        OptimConfig(**config.optim),
        config.settings.to_dict(),
        seconds=config.data.seconds,
        dtype=dtype,
        classes=len(classes),
        remat=config.remat,
    )
    if config.lora:
        if not config.start:
            raise InputError("lora: changes are of a checkpoint; name one with config.start")
        made = adapted(made, config.lora)
    return Run(config, start, made, mesh, dtype, classes)


def _sources(config) -> tuple[Source, ...]:
    """`path[:split[:weight]]`, separated by commas."""
    found = []
    for text in config.data.sources.split(","):
        path, *rest = text.strip().split(":")
        try:
            weight = float(rest[1]) if len(rest) > 1 else None
        except ValueError:
            raise InputError(f"data.sources {text!r}: path:split:weight is expected") from None
        found.append(Source(path, rest[0] if rest else "train", weight))
    if not config.data.sources:
        raise InputError("data.sources is empty: --config.data.sources=CORPUS (see docs/data.md)")
    return tuple(found)


def _classes(config) -> tuple[str, ...]:
    """All labels of the corpora, sorted by name."""
    found: set[str] = set()
    for source in _sources(config):
        path = Path(records.open_builder(source.path).data_path) / CLASSES
        if not path.is_file():
            raise InputError(f"{path}: missing; prepare the corpus with this program")
        found |= set(json.loads(path.read_text()))
    return tuple(sorted(found))


def step_of(run: Run):
    """The run's step: (state, frozen, batch) -> (state, metrics)."""
    c = run.config
    return make_step(run.plan.stage, accumulate=c.accumulate, ema_decay=c.ema_decay)


def open_batches(run: Run) -> Batches:
    """This host's batches, placed on the mesh."""
    config, reads = run.config, run.plan.reads
    recipe = Recipe(
        seconds=config.data.seconds,
        sample_rate=reads.sample_rate,
        clap=reads.clap,
        tokens=numbering(run.start, run.plan, config.data.text_length),
        classes=run.classes if reads.labels else (),
        text_length=config.data.text_length,
        loa=reads.loa,
    )
    data = DataConfig(
        _sources(config),
        config.batch,
        recipe,
        seed=config.seed,
        tolerance=config.data.tolerance,
        workers=config.data.workers,
    )
    return Batches(
        data,
        host=jax.process_index(),
        hosts=jax.process_count(),
        sharding=sharding.of_batch(run.mesh),
    )


def frozen_parts(run: Run) -> dict:
    """The start's parts that do not train, in the dtype of the computation, on the mesh."""
    loaded = run.start.load(run.plan.frozen, run.dtype)
    loaded = jax.tree.map(lambda x: x.astype(run.dtype), loaded)
    return jax.device_put(loaded, sharding.of_tree(loaded, run.mesh))


def train(config: ConfigDict, workdir, *, quiet: bool = False) -> dict[str, float]:
    """Trains to config.steps, from the last state in workdir if there is one; the last metrics.

    SIGTERM saves and ends the run. Raises InputError, also when too many steps in a row are not
    finite, naming the step and the clips.
    """
    workdir, run = Path(workdir), open_run(config)
    _claim(workdir, config)
    writer = metrics.Writer(workdir, main=distributed.is_main(), quiet=quiet)
    saved = Checkpoints(
        workdir / "checkpoints",
        every=config.save_every,
        keep=config.keep,
        keep_every=config.keep_every,
    )
    with jax.set_mesh(run.mesh), open_batches(run) as batches, _Stopping() as stopping:
        state, placed = _state(run, saved, batches)
        first = int(state.step)
        writer.say(f"{config.stage}: steps {first} to {config.steps} in {workdir}")
        frozen, last, step, clock = frozen_parts(run), {}, None, metrics.Clock()
        batch = next(batches) if first < config.steps else None
        if batch is not None and config.latent_scale == "batch":
            frozen["scale"] = _latent_scale(run, frozen, batch, workdir)
        for number in range(first, config.steps):
            batch = batch if number == first else clock.wait(lambda: next(batches))
            if step is None:
                step, flops = _compiled(run, placed, state, frozen, batch, writer)
                clock.restart()
            state, found = step(state, frozen, arrays(batch))
            clock.steps += 1
            done, ending = number + 1, stopping.asked()
            if done % config.log_every == 0 or done == config.steps or ending:
                last = {k: float(v) for k, v in jax.device_get(found).items()}
                _check_finite(last, config, done, batch)
                last |= clock.report(config.batch, flops)
                writer.write(done, last)
            over = done == config.steps or ending
            saved.save(done, state, batches.state(), now=over)
            if over:
                break
        saved.finish()
    writer.close()
    return last


def _claim(workdir: Path, config: ConfigDict) -> None:
    """Keeps the configuration beside the run; a run of another stage is not gone on with."""
    path = workdir / "config.json"
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if path.is_file() and (found := json.loads(path.read_text())["stage"]) != config.stage:
            raise InputError(f"{workdir}: holds a run of stage {found}; choose another folder")
        if distributed.is_main():
            files.write_json(path, config.to_dict())
    except OSError as error:
        raise InputError(f"{workdir}: cannot write there ({error.strerror or error})") from None


def _state(run: Run, saved: Checkpoints, batches: Batches):
    """(the last saved state, or a fresh one that begins with the start's weights; shardings)."""
    stage, placed = run.plan.stage, state_shardings(run.plan.stage, run.mesh)
    if saved.latest is not None:
        shapes = jax.eval_shape(lambda key: init_state(stage, key), jax.random.key(0))
        state, data = saved.restore(shapes, placed)
        batches.restore(data)
        return state, placed
    start = {}
    if run.config.begin and run.config.start:
        start = run.start.load(run.plan.begin, jnp.float32)
        start = {name: run.plan.unfold(params) for name, params in start.items()}
    return born_sharded(stage, run.mesh, run.config.seed, start), placed


def _compiled(run: Run, placed, state, frozen, batch, writer):
    """The step for these shapes, and its FLOPs on one device."""
    config = run.config
    step = step_of(run)
    whole = sharding.replicated(run.mesh)
    jitted = jax.jit(step, donate_argnums=0, out_shardings=(placed, whole))
    writer.say("compiling the step ...")
    try:
        compiled = jitted.lower(state, frozen, arrays(batch)).compile()
    except KeyError as error:
        if error.args[0] not in ("waveform", "waveform_48k"):
            raise
        # An encoded corpus that lacks what the stage reads would have to be heard.
        raise InputError(
            f"stage {config.stage} needs more of its clips than these corpora hold: "
            f"{' '.join(sorted(arrays(batch)))}; encode them with what is missing (such as --loa), "
            "or train on the sound"
        ) from None
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
        if "mean" in batch:
            mean = batch["mean"]
        else:
            encode = jax.jit(lambda f, w: encode_posterior(f, w, run.start.model, run.dtype)[0])
            mean = encode(frozen, batch["waveform"])
        scale = float(1.0 / jnp.std(mean.astype(jnp.float32)))
        if distributed.is_main():
            files.write_json(path, scale)
    else:
        scale = json.loads(path.read_text())
    return jax.device_put(np.float32(scale), sharding.replicated(run.mesh))


class _Stopping:
    """Whether the job was told to end: by SIGTERM, on any of its processes."""

    def __enter__(self):
        self._told, self._before = False, None
        if jax.process_count() == 1 and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._tell)
        self._step = 0
        return self

    def _tell(self, *_):
        self._told = True

    def asked(self) -> bool:
        if jax.process_count() == 1:
            return self._told
        from jax.experimental import multihost_utils

        self._step += 1
        return multihost_utils.reached_preemption_sync_point(self._step)

    def __exit__(self, *_):
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
