"""Entries of a run's configuration beside its stage's settings: defaults, meanings, bounds."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from audioldm2_jax.errors import InputError
from audioldm2_jax.training.optim import SCHEDULES, OptimConfig

# Imported late below: the stages need no more than the table.
if TYPE_CHECKING:
    from ml_collections import ConfigDict


@dataclass(frozen=True)
class Entry:
    """An entry of a configuration, which has the type of its default.

    text: what it is; least, most: bounds of a number, inclusive; choices: all values that it takes.
    """

    default: Any
    text: str
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()


ENTRIES: dict[str, Entry] = {
    "base_checkpoint": Entry(
        "", "gives frozen parts, tokenizers and first weights: a folder, a hub id, or random"
    ),
    "init_from_base": Entry(True, "the trained parts start from the base checkpoint's weights"),
    "preset": Entry("base", "sizes of the model where no checkpoint gives them"),
    "lora": Entry(
        0, "rank of LoRA matrices, which train in place of the weights; 0: none", 0, 4096
    ),
    "optim.learning_rate": Entry(OptimConfig.learning_rate, "highest learning rate", 0),
    "optim.warmup": Entry(OptimConfig.warmup, "steps until the learning rate is reached", 0),
    "optim.schedule": Entry(OptimConfig.schedule, "after warm-up", choices=SCHEDULES),
    "optim.steps": Entry(0, "cosine: the step at which the rate is 0; 0: the run's last", 0),
    "optim.decay": Entry(
        OptimConfig.decay, "exponential: factor of the rate every decay_every steps", 0, 1
    ),
    "optim.decay_every": Entry(
        OptimConfig.decay_every, "exponential: steps between two factors", 1
    ),
    "optim.beta1": Entry(OptimConfig.beta1, "AdamW's decay of the mean", 0, 1 - 1e-9),
    "optim.beta2": Entry(OptimConfig.beta2, "AdamW's decay of the square", 0, 1 - 1e-9),
    "optim.eps": Entry(OptimConfig.eps, "AdamW's epsilon", 0),
    "optim.weight_decay": Entry(OptimConfig.weight_decay, "AdamW's weight decay", 0),
    "optim.clip": Entry(OptimConfig.clip, "bound of the gradient's norm; 0: none", 0),
    "data.sources": Entry("", "corpora: path[:split[:weight]], separated by commas"),
    "data.seconds": Entry(10.24, "length of each crop", 0.01, 3600),
    "data.text_length": Entry(128, "tokens of a text at most", 2, 8192),
    "data.tolerance": Entry(0.01, "share of the clips that may be unusable", 0, 1),
    "data.workers": Entry(0, "processes that decode; 0: threads of this one", 0, 1024),
    "validation.sources": Entry("", "corpora of held-out clips, as data.sources"),
    "validation.every": Entry(1000, "steps between two validations; 0: none", 0),
    "validation.batches": Entry(8, "batches of held-out clips at most", 1),
    "sample.every": Entry(5000, "steps between two samples; 0: none", 0),
    "sample.prompts": Entry((), "texts that become sound; none: four that come with the program"),
    "sample.steps": Entry(25, "sampling steps of a sample", 1, 1000),
    "frozen_params": Entry((), "patterns of the paths of parameters that do not train"),
    "wandb": Entry("", "project of Weights & Biases; needs `pip install wandb`"),
    "mesh.data": Entry(-1, "devices that hold copies; -1: the rest", -1),
    "mesh.fsdp": Entry(1, "devices that split parameters and the batch", -1),
    "mesh.context": Entry(1, "devices that split lengths; no stage does, so 1", 1),
    "mesh.tensor": Entry(1, "devices that split widths and heads", -1),
    "batch": Entry(64, "clips of a step, over all devices", 1),
    "accumulate": Entry(1, "micro-batches of a step", 1),
    "remat": Entry(
        "none", "what gradients compute anew to save memory", choices=("none", "products", "blocks")
    ),
    "steps": Entry(100_000, "steps of the run", 1, 2**31 - 1),
    "seed": Entry(0, "of weights, noise, crops and the order of the clips", 0, 2**31 - 1),
    "dtype": Entry("bf16", "of the computation", choices=("fp32", "bf16")),
    "ema_decay": Entry(0.9999, "decay of the average of the weights", 0, 1),
    "latent_scale": Entry(
        "model", "of the VAE's latents; batch: from the first batch", choices=("model", "batch")
    ),
    "log_every": Entry(50, "steps between two lines of metrics", 1),
    "save_every": Entry(1000, "steps between two states", 1),
    "keep": Entry(3, "how many of the last states stay", 1),
    "keep_every": Entry(0, "steps whose states stay for good; 0: none", 0),
    "max_skipped": Entry(10, "steps in a row that may be not finite", 1),
}


def get(config: ConfigDict, name: str) -> Any:
    """An entry's value. Raises KeyError, AttributeError or TypeError where it is not there."""
    value = config
    for part in name.split("."):
        value = value[part]
    return value


def defaults(stage: str, settings: dict[str, Any]) -> ConfigDict:
    """A configuration of default values. settings: the stage's own."""
    from ml_collections import ConfigDict

    tree: dict[str, Any] = {"stage": stage, "settings": ConfigDict(settings)}
    for name, entry in ENTRIES.items():
        *groups, last = name.split(".")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[last] = entry.default
    return ConfigDict(tree)


def flat(config: ConfigDict, prefix: str = "") -> dict[str, Any]:
    """{dotted name: value} of all entries."""
    from ml_collections import ConfigDict

    values = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            values |= flat(value, f"{prefix}{name}.")
        else:
            values[prefix + name] = value
    return values


def check(config: ConfigDict) -> None:
    """Raises InputError for an entry that is missing, unknown, of another type or out of bounds."""
    from ml_collections import ConfigDict

    if not isinstance(config, ConfigDict):
        raise InputError(f"the configuration is a {type(config).__name__}, not a ConfigDict")
    values = flat(config)
    for name in values:
        if name not in ENTRIES and name != "stage" and not name.startswith("settings."):
            raise InputError(f"{name}: no entry of a configuration{suggestion(name, ENTRIES)}")
    for name, entry in ENTRIES.items():
        if name not in values:
            raise InputError(
                f"{name}: missing in the configuration; use "
                "audioldm2_jax.configs.common.stage_config"
            )
        check_value(name, values[name], entry)
    if not isinstance(values.get("stage"), str):
        raise InputError("stage: missing in the configuration, or no text")
    if not isinstance(config.get("settings"), ConfigDict):
        raise InputError("settings: missing in the configuration, or no group of values")


def check_value(name: str, value: Any, entry: Entry) -> None:
    """Raises InputError for a value of another type, or out of bounds."""
    expected = type(entry.default)
    if expected is tuple:
        if not isinstance(value, (tuple, list)) or not all(isinstance(x, str) for x in value):
            raise InputError(f"{name} is {value!r}: texts are expected")
        return
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    right = number if expected is float else isinstance(value, expected)
    if not right or (expected is int and not number):
        raise InputError(f"{name} is {value!r}: {KINDS[expected]} is expected")
    if entry.choices and value not in entry.choices:
        raise InputError(f"{name} {value!r}: choose one of {' '.join(entry.choices)}")
    if number:
        most = entry.most if entry.most is not None or expected is float else 2**31 - 1
        check_bounds(name, value, entry.least, most)


KINDS = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a text",
    tuple: "a list",
}


def check_bounds(name: str, value: float, least: float | None, most: float | None) -> None:
    """Raises InputError for a number that is not finite or out of bounds."""
    if not math.isfinite(value):
        raise InputError(f"{name} is {value}: it must be finite")
    if least is not None and value < least:
        raise InputError(f"{name} is {value}: it must be at least {least:g}")
    if most is not None and value > most:
        raise InputError(f"{name} is {value}: it must be at most {most:g}")


def suggestion(name: str, known) -> str:
    """`. Did you mean "..."?` where a known name is near, else ""."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f'. Did you mean "{near[0]}"?' if near else ""


def changes(previous: dict, config: ConfigDict) -> str:
    """`; steps was 10 and is 20, ...` of what decides a state's form; "" where nothing differs."""
    from ml_collections import ConfigDict

    forms = (
        "base_checkpoint",
        "preset",
        "lora",
        "frozen_params",
        "settings.",
        "optim.clip",
        "data.seconds",
    )
    try:
        before = flat(ConfigDict(previous))
    except (TypeError, ValueError, AttributeError):
        return ""
    lines = [
        f"{name} was {before[name]!r} and is {value!r}"
        for name, value in flat(config).items()
        if name.startswith(forms) and name in before and _plain(before[name]) != _plain(value)
    ]
    return "; " + ", ".join(lines) if lines else ""


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
