"""What a run consists of, from its configuration: stage, mesh, data, frozen weights, step."""

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
from audioldm2_jax.errors import InputError
from audioldm2_jax.training import entries
from audioldm2_jax.training.base_checkpoint import (
    BaseCheckpoint,
    open_base_checkpoint,
    token_transforms,
)
from audioldm2_jax.training.idle import check_effects
from audioldm2_jax.training.lora import PART, lora_stage
from audioldm2_jax.training.optim import OptimConfig
from audioldm2_jax.training.settings import check_settings
from audioldm2_jax.training.spec import StageInfo, StageSpec, build_stage
from audioldm2_jax.training.stages import find_stage
from audioldm2_jax.training.step import donated_argnums, make_step


@dataclass
class Run:
    """A run's parts, made from its configuration."""

    config: ConfigDict
    base: BaseCheckpoint
    info: StageInfo
    spec: StageSpec
    mesh: jax.sharding.Mesh
    dtype: type
    classes: tuple[str, ...]

    def exported(self, params: dict) -> dict:
        """Trained parts that a checkpoint holds, in its form."""
        return {name: self.spec.merge(params[name]) for name in self.spec.exports}

    def merged_params(self, params: dict, frozen: dict) -> dict:
        """Trained parts, LoRA merged into the weights that it changes."""
        if not self.spec.lora_base:
            return self.exported(params)
        base = {name: frozen[name] for name in self.spec.lora_base}
        return lora.merge(base, params[PART])

    def full_checkpoint(self, trained: dict, scale: float | None = None) -> hub.Checkpoint:
        """The base checkpoint with the trained parts in place of its own.

        scale: of the latents, if the run measured it.
        """
        base, model = self.base, self.base.model
        if scale is not None:
            model = dataclasses.replace(model, vae=dataclasses.replace(model.vae, scale=scale))
        others = base.load([p for p in parts_of(model) if p not in trained], jnp.float32)
        source = f"{self.config.base_checkpoint}, trained"
        convention = hub.convention_named("authors")
        return hub.Checkpoint(model, others | trained, base.tokenizers, convention, source)


def open_run(
    config: ConfigDict, devices=None, classes: tuple[str, ...] = (), *, stored: bool = False
) -> Run:
    """Everything but data and weights. Raises InputError for what does not fit together.

    devices: of the mesh, None for all of this job; classes: labels to learn, by default those of
    the corpora; stored: a run's own configuration, whose entries without effect do not matter any
    more.
    """
    entries.check(config)
    info = find_stage(config.stage)
    check_settings(info.name, info.settings, config.settings)
    if not stored:
        check_effects(config)
    mesh = sharding.make_mesh(dict(config.mesh) or None, devices)
    spread = mesh.shape["data"] * mesh.shape["fsdp"]
    if config.batch % (config.accumulate * spread):
        raise InputError(
            f"batch is {config.batch}: it must be a multiple of accumulate x data x fsdp, "
            f"{config.accumulate * spread}"
        )
    dtype = parse_dtype(config.dtype)
    base = open_base_checkpoint(config.base_checkpoint, config.preset)
    if info.reads_labels and not classes:
        classes = _classes(config)
    spec = build_stage(
        info,
        base.model,
        _optim(config),
        config.settings.to_dict(),
        remat=config.remat,
        dtype=dtype,
        seconds=config.data.seconds,
        text_length=config.data.text_length,
        classes=classes,
    )
    if config.lora:
        if not config.base_checkpoint:
            raise InputError("lora: it changes a checkpoint; name one with config.base_checkpoint")
        spec = lora_stage(spec, config.lora)
    spec = _freeze(spec, tuple(config.frozen_params))
    return Run(config, base, info, spec, mesh, dtype, classes)


def _optim(config: ConfigDict) -> OptimConfig:
    """The optimiser's settings; the cosine ends with the run, unless it says otherwise."""
    return OptimConfig(**config.optim.to_dict() | {"steps": config.optim.steps or config.steps})


def _freeze(spec: StageSpec, patterns: tuple[str, ...]) -> StageSpec:
    """The stage with more frozen parameters. Raises InputError for patterns without effect."""
    if not patterns:
        return spec
    paths = tree.flatten(jax.eval_shape(spec.stage.init, jax.random.key(0)))
    for pattern in patterns:
        try:
            has_effect = any(re.search(pattern, path) for path in paths)
        except re.error as error:
            raise InputError(
                f"frozen_params {pattern!r}: not a regular expression ({error})"
            ) from None
        if not has_effect:
            raise InputError(
                f"frozen_params {pattern!r}: no parameter's path has it; as {min(paths)}"
            )
    groups = {}
    for name, group in spec.stage.groups.items():
        frozen = group.frozen_params + patterns
        own = [path for path in paths if path.partition("/")[0] in group.parts]
        if all(re.search("|".join(f"(?:{x})" for x in frozen), path) for path in own):
            raise InputError(f"frozen_params {' '.join(patterns)}: nothing is left to train")
        groups[name] = dataclasses.replace(group, frozen_params=frozen)
    return dataclasses.replace(spec, stage=dataclasses.replace(spec.stage, groups=groups))


def sources_of(texts: str) -> tuple[CorpusSource, ...]:
    """`path[:split[:weight]]`, separated by commas."""
    sources = []
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
        sources.append(CorpusSource(path, rest[0] if rest else "train", weight))
    return tuple(sources)


def _classes(config) -> tuple[str, ...]:
    """All labels of the corpora, sorted by name."""
    labels: set[str] = set()
    for source in sources_of(config.data.sources):
        path = Path(reader.open_builder(source.path).data_path) / CLASSES
        if not path.is_file():
            raise InputError(f"{path}: missing; prepare the corpus with this program")
        labels |= set(read_classes(path))
    if not labels:
        raise InputError(f"data.sources {config.data.sources}: no clip has a label to learn")
    return tuple(sorted(labels))


def read_scale(path) -> float:
    """The latents' scale that a run has measured. Raises InputError for anything else."""
    scale = files.read_json(path, (int, float))
    if not 0 < scale < float("inf"):
        raise InputError(f"{path}: a number above 0 is expected; delete it to measure it again")
    return float(scale)


def read_classes(path) -> tuple[str, ...]:
    """The labels of a classes.json. Raises InputError for a file that holds something else."""
    labels = files.read_json(path, (list, dict))
    if not all(isinstance(label, str) for label in labels):
        raise InputError(f"{path}: a list of labels is expected")
    return tuple(labels)


def step_of(run: Run):
    """The run's step: (state, frozen, batch) -> (state, metrics)."""
    c = run.config
    settings = {"accumulate": c.accumulate, "ema_decay": c.ema_decay}
    return make_step(run.spec.stage, hosts=jax.process_count(), **settings)


def jitted_step(run: Run, shardings):
    """The step as it is compiled; metrics are replicated. shardings: of the state."""
    placed = shardings, sharding.replicated(run.mesh)
    return jax.jit(step_of(run), donate_argnums=donated_argnums(), out_shardings=placed)


def open_batches(run: Run, sources: str = "", epochs: int | None = None) -> Batches:
    """This host's batches, placed on the mesh. sources: by default those to train on."""
    config, batch = run.config, run.spec.batch
    transform = ClipTransform(
        seconds=batch.seconds,
        sample_rate=batch.sample_rate,
        clap=batch.clap_waveform,
        tokens=token_transforms(run.base, run.spec),
        classes=batch.classes,
        text_length=batch.text_length,
        loa=batch.poolings,
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
        sharding=sharding.batch_sharding(run.mesh),
    )


def needed_parts(run: Run, batch) -> tuple[str, ...]:
    """Frozen parts whose outputs the batch does not already hold. batch: its keys count.

    Raises InputError where sound is needed that a precomputed corpus does not hold.
    """
    spec = run.spec
    if not spec.batch.precomputed and "waveform" not in batch:
        raise InputError(
            f"stage {run.config.stage} trains on sound, which an encoded corpus does not hold; "
            "name the corpus that it was encoded from"
        )
    missing = {part: set(keys) - set(batch) for part, keys in spec.frozen.items()}
    lacking = set().union(*missing.values()) & spec.batch.from_sound
    if lacking and "waveform" not in batch:
        raise InputError(
            f"stage {run.config.stage} needs more of its clips than these corpora hold: "
            f"{' '.join(sorted(lacking))}; encode them with what is missing (such as --loa), or "
            "train on the sound"
        )
    return tuple(part for part, keys in spec.frozen.items() if missing[part] or not keys)


def frozen_parts(run: Run, batch) -> dict:
    """Frozen parameters that such batches need, in the dtype of the computation, on the mesh."""
    names = needed_parts(run, batch)
    frozen = run.base.load(names, run.dtype)
    frozen = jax.tree.map(lambda x: x.astype(run.dtype), frozen) | run.spec.extra_frozen()
    for name, constant in run.spec.constants.items():
        if constant.part not in names:
            part = run.base.load((constant.part,), run.dtype)
            frozen[name] = constant.compute(part, run.dtype)
    return jax.device_put(frozen, sharding.tree_shardings(frozen, run.mesh))
