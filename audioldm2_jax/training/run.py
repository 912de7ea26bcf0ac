"""A run's parts, made from its configuration: stage, mesh, data, frozen weights, step."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from audioldm2_jax import files, sharding, tree
from audioldm2_jax.checkpoints import hub, lora
from audioldm2_jax.checkpoints.parts import parts_of
from audioldm2_jax.data.corpus import reader
from audioldm2_jax.data.corpus.writer import CLASSES
from audioldm2_jax.data.loading.batches import Batches
from audioldm2_jax.data.loading.stream import CorpusSource, DataConfig
from audioldm2_jax.data.loading.transforms import ClipTransform
from audioldm2_jax.dtypes import parse_dtype
from audioldm2_jax.encoders.unconditional import encode_unconditional, unconditional_encoder
from audioldm2_jax.errors import InputError
from audioldm2_jax.training import entries
from audioldm2_jax.training.idle import check_effects
from audioldm2_jax.training.low_rank import PART, adapted
from audioldm2_jax.training.optim import OptimConfig
from audioldm2_jax.training.stages import STAGES, Plan, check_stage, plan
from audioldm2_jax.training.stages.conditions import NOTHING
from audioldm2_jax.training.start import Start, numbering, open_start
from audioldm2_jax.training.step import make_step


@dataclass
class Run:
    """A run's parts, made from its configuration."""

    config: ConfigDict
    start: Start
    plan: Plan
    mesh: jax.sharding.Mesh
    dtype: type
    classes: tuple[str, ...]

    def exported(self, params: dict) -> dict:
        """Of a stage's parameters those that a checkpoint has, as it has them."""
        return {name: self.plan.fold(params[name]) for name in self.plan.exports}

    def heard(self, params: dict, frozen: dict) -> dict:
        """The parts of a model that have changed, low-rank changes merged into what they are of."""
        if not self.plan.adapts:
            return self.exported(params)
        base = {name: frozen[name] for name in self.plan.adapts}
        return lora.merge(base, params[PART])

    def whole(self, trained: dict, scale: float | None = None) -> hub.Checkpoint:
        """The start's model with the trained parts in place of its own.

        scale: of the latents, if the run measured it.
        """
        start, model = self.start, self.start.model
        if scale is not None:
            model = dataclasses.replace(model, vae=dataclasses.replace(model.vae, scale=scale))
        others = start.load([p for p in parts_of(model) if p not in trained], jnp.float32)
        source = f"{self.config.start}, trained"
        convention = hub.convention_named("authors")
        return hub.Checkpoint(model, others | trained, start.tokenizers, convention, source)


def open_run(
    config: ConfigDict, devices=None, classes: tuple[str, ...] = (), *, stored: bool = False
) -> Run:
    """Everything but data and weights. Raises InputError for what does not fit together.

    devices: of the mesh, None for all of this job; classes: of a tagger, by default its corpora's;
    stored: a run's own configuration, whose entries without effect do not matter any more.
    """
    entries.check(config)
    check_stage(config.stage, config.settings)
    if not stored:
        check_effects(config)
    mesh = sharding.make_mesh(dict(config.mesh) or None, devices)
    spread = mesh.shape["data"] * mesh.shape["fsdp"]
    if config.batch % (config.accumulate * spread):
        raise InputError(
            f"batch is {config.batch}: it must be a multiple of accumulate x data x fsdp, "
            f"{config.accumulate * spread}"
        )
    dtype, start = parse_dtype(config.dtype), open_start(config.start, config.preset)
    if STAGES[config.stage].labels and not classes:
        classes = _classes(config)
    made = plan(
        config.stage,
        start.model,
        _optim(config),
        config.settings.to_dict(),
        seconds=config.data.seconds,
        dtype=dtype,
        classes=classes,
        remat=config.remat,
    )
    if config.lora:
        if not config.start:
            raise InputError("lora: changes are of a checkpoint; name one with config.start")
        made = adapted(made, config.lora)
    return Run(config, start, _held(made, tuple(config.fixed)), mesh, dtype, classes)


def _optim(config: ConfigDict) -> OptimConfig:
    """The optimiser's settings; the cosine ends with the run, unless it says otherwise."""
    return OptimConfig(**config.optim.to_dict() | {"steps": config.optim.steps or config.steps})


def _held(made: Plan, patterns: tuple[str, ...]) -> Plan:
    """The plan with more parameters that stay as they are. Raises InputError for idle patterns."""
    if not patterns:
        return made
    paths = tree.flatten(jax.eval_shape(made.stage.init, jax.random.key(0)))
    for pattern in patterns:
        try:
            idle = not any(re.search(pattern, path) for path in paths)
        except re.error as error:
            raise InputError(f"fixed {pattern!r}: not a regular expression ({error})") from None
        if idle:
            raise InputError(f"fixed {pattern!r}: no parameter's path has it; as {min(paths)}")
    for player in made.stage.players.values():
        own = [path for path in paths if path.partition("/")[0] in player.parts]
        held = re.compile("|".join(f"(?:{x})" for x in player.fixed + patterns))
        if all(held.search(path) for path in own):
            raise InputError(f"fixed {' '.join(patterns)}: nothing is left to train")
    players = {
        name: dataclasses.replace(player, fixed=player.fixed + patterns)
        for name, player in made.stage.players.items()
    }
    return dataclasses.replace(made, stage=dataclasses.replace(made.stage, players=players))


def sources_of(texts: str) -> tuple[CorpusSource, ...]:
    """`path[:split[:weight]]`, separated by commas."""
    found = []
    if not texts.strip(" ,"):
        raise InputError("data.sources is empty: --config.data.sources=CORPUS (see docs/data.md)")
    for text in texts.split(","):
        path, *rest = text.strip().split(":")
        try:
            weight = float(rest[1]) if len(rest) > 1 else None
        except ValueError:
            weight = float("nan")
        if not path or len(rest) > 2 or "" in rest or (weight is not None and not 0 < weight < 1e9):
            raise InputError(f"sources {text!r}: PATH, PATH:SPLIT or PATH:SPLIT:WEIGHT is expected")
        found.append(CorpusSource(path, rest[0] if rest else "train", weight))
    return tuple(found)


def _classes(config) -> tuple[str, ...]:
    """All labels of the corpora, sorted by name."""
    found: set[str] = set()
    for source in sources_of(config.data.sources):
        path = Path(reader.open_builder(source.path).data_path) / CLASSES
        if not path.is_file():
            raise InputError(f"{path}: missing; prepare the corpus with this program")
        found |= set(read_classes(path))
    if not found:
        raise InputError(f"data.sources {config.data.sources}: no clip has a label to learn")
    return tuple(sorted(found))


def read_scale(path) -> float:
    """The latents' scale that a run has measured. Raises InputError for anything else."""
    scale = files.read_json(path, (int, float))
    if not 0 < scale < float("inf"):
        raise InputError(f"{path}: a number above 0 is expected; delete it to measure it again")
    return float(scale)


def read_classes(path) -> tuple[str, ...]:
    """The labels of a classes.json. Raises InputError for a file that holds something else."""
    found = files.read_json(path, (list, dict))
    if not all(isinstance(label, str) for label in found):
        raise InputError(f"{path}: a list of labels is expected")
    return tuple(found)


def step_of(run: Run):
    """The run's step: (state, frozen, batch) -> (state, metrics)."""
    c = run.config
    settings = {"accumulate": c.accumulate, "ema_decay": c.ema_decay}
    return make_step(run.plan.stage, hosts=jax.process_count(), **settings)


def open_batches(run: Run, sources: str = "", epochs: int | None = None) -> Batches:
    """This host's batches, placed on the mesh. sources: by default those to train on."""
    config, reads = run.config, run.plan.reads
    transform = ClipTransform(
        seconds=config.data.seconds,
        sample_rate=reads.sample_rate,
        clap=reads.clap,
        tokens=numbering(run.start, run.plan, config.data.text_length),
        classes=run.classes if reads.labels else (),
        text_length=config.data.text_length,
        loa=reads.loa,
    )
    data = DataConfig(
        sources_of(sources or config.data.sources),
        config.batch,
        transform,
        seed=config.seed,
        epochs=epochs,
        tolerance=config.data.tolerance,
        workers=config.data.workers,
    )
    return Batches(
        data,
        host=jax.process_index(),
        hosts=jax.process_count(),
        sharding=sharding.of_batch(run.mesh),
    )


def needed(run: Run, batch) -> tuple[str, ...]:
    """The frozen parts that have something to do, by the names of what a batch holds.

    Raises InputError where sound would have to be heard that an encoded corpus does not hold.
    """
    reads = run.plan.reads
    if STAGES[run.config.stage].samples != "prompts" and "waveform" not in batch:
        raise InputError(
            f"stage {run.config.stage} trains on sound, which an encoded corpus does not hold; "
            "name the corpus that it was encoded from"
        )
    encoded = {
        "vae": {"mean"},
        "audiomae": {f"loa_{pooling}" for pooling in reads.loa},
        "clap": {"clap_audio"} if reads.clap else set(),
        "t5": {"t5"} if "t5" in reads.texts else set(),
    }
    if "clap" in reads.texts:
        encoded["clap"].add("clap_text")
    lacking = {name: encoded.get(name, {name}) - set(batch) for name in run.plan.frozen}
    heard = set().union(*lacking.values()) & {"mean", "clap_audio", *encoded["audiomae"]}
    if heard and "waveform" not in batch:
        raise InputError(
            f"stage {run.config.stage} needs more of its clips than these corpora hold: "
            f"{' '.join(sorted(heard))}; encode them with what is missing (such as --loa), or "
            "train on the sound"
        )
    return tuple(name for name, what in lacking.items() if what)


def frozen_parts(run: Run, batch) -> dict:
    """The start's parts that do not train, in the dtype of the computation, on the mesh.

    Of its encoders those alone that such batches leave something to do.
    """
    names = needed(run, batch)
    loaded = run.start.load(names, run.dtype)
    loaded = jax.tree.map(lambda x: x.astype(run.dtype), loaded) | run.plan.extra()
    reader = unconditional_encoder(run.start.model)
    if run.plan.drops and reader not in names:
        encoder = run.start.load((reader,), run.dtype)
        loaded[NOTHING] = encode_unconditional(encoder, run.start.model, run.dtype)
    return jax.device_put(loaded, sharding.of_tree(loaded, run.mesh))
