"""Entries of a configuration without effect: they are refused, not ignored."""

from __future__ import annotations

from collections.abc import Iterable

from ml_collections import ConfigDict

from audioldm2_jax.errors import InputError
from audioldm2_jax.training import entries
from audioldm2_jax.training.settings import idle_settings
from audioldm2_jax.training.spec import PromptSamples, StageInfo
from audioldm2_jax.training.stages import find_stage

# A configuration's file may set these, and settings of its stage, for the case that another value
# puts them to use; whoever sets them by hand means to be obeyed.
PREPARED = ("preset", "validation.every", "validation.batches", "sample.prompts", "sample.steps")


def check_effects(config: ConfigDict, names: Iterable[str] | None = None) -> None:
    """Raises InputError for an entry that is not at its default and has no effect.

    names: of the entries that were set by hand; None: all but those a file may prepare.
    """
    reasons = idle(config)
    for name in _unprepared(reasons) if names is None else names:
        value, default = entries.get(config, name), _default(config, name)
        if name in reasons and value != default:
            # Switched off is what it is anyway.
            if name.endswith(".every") and value == 0:
                continue
            advice = f"; leave it at {default!r}" if default != "" else "; leave it out"
            raise InputError(f"{name} is {value!r}: it has no effect, for {reasons[name]}{advice}")


def reset_idle(config: ConfigDict, before: Iterable[str], names: Iterable[str]) -> None:
    """Resets entries of the file that an override leaves without effect.

    before: entries that were idle without the overrides; names: of those that were set by hand.
    """
    for name in _unprepared(idle(config)):
        if name not in before and name not in names:
            group, _, last = name.rpartition(".")
            (config[group] if group else config)[last] = _default(config, name)


def _unprepared(names: Iterable[str]) -> list[str]:
    return [n for n in names if n not in PREPARED and not n.startswith("settings.")]


def _default(config: ConfigDict, name: str):
    group, _, last = name.partition(".")
    if group == "settings":
        return find_stage(config.stage).defaults[last]
    return entries.ENTRIES[name].default if name in entries.ENTRIES else None


def idle(config: ConfigDict) -> dict[str, str]:
    """{entry: why it has no effect}, as far as the configuration alone decides it."""
    info = find_stage(config.stage)
    return (
        _of_base(config, info)
        | _of_optimiser(config, info)
        | _of_data(config, info)
        | _of_samples(config, info)
        | idle_settings(info.settings, config.settings)
    )


def _of_base(config: ConfigDict, info: StageInfo) -> dict[str, str]:
    reasons = {}
    if not info.uses_base:
        return dict.fromkeys(
            ("base_checkpoint", "init_from_base", "preset"),
            f"stage {config.stage} uses no base checkpoint",
        )
    if not config.base_checkpoint:
        reasons["init_from_base"] = "no base_checkpoint is named"
    elif config.base_checkpoint != "random":
        reasons["preset"] = "the base checkpoint has its own sizes"
    if config.lora:
        reasons["init_from_base"] = "LoRA always starts from the base checkpoint's weights"
    return reasons


def _of_optimiser(config: ConfigDict, info: StageInfo) -> dict[str, str]:
    reasons, schedule = {}, config.optim.schedule
    if schedule != "cosine":
        reasons["optim.steps"] = f"optim.schedule is {schedule}"
    if schedule != "exponential":
        reasons |= dict.fromkeys(
            ("optim.decay", "optim.decay_every"), f"optim.schedule is {schedule}"
        )
    elif config.optim.decay == 1:
        reasons["optim.decay_every"] = "optim.decay is 1"
    if not info.has_ema or config.lora:
        what = "LoRA training" if config.lora else f"stage {config.stage}"
        reasons["ema_decay"] = f"{what} keeps no average"
    return reasons


def _of_data(config: ConfigDict, info: StageInfo) -> dict[str, str]:
    reasons = {}
    if not info.reads_texts:
        reasons["data.text_length"] = f"stage {config.stage} reads no texts"
    if not info.reads_latents:
        reasons["latent_scale"] = f"stage {config.stage} trains on no latents"
    if not config.validation.sources:
        reason = "validation.sources is empty"
        reasons |= dict.fromkeys(("validation.every", "validation.batches"), reason)
    elif not config.validation.every:
        reasons |= dict.fromkeys(
            ("validation.sources", "validation.batches"), "validation.every is 0"
        )
    return reasons


def _of_samples(config: ConfigDict, info: StageInfo) -> dict[str, str]:
    names = ("sample.prompts", "sample.steps")
    if info.samples is None:
        return dict.fromkeys(("sample.every", *names), f"stage {config.stage} makes no sound")
    if not isinstance(info.samples, PromptSamples):
        return dict.fromkeys(names, f"stage {config.stage} restores clips")
    if not config.sample.every:
        return dict.fromkeys(names, "sample.every is 0")
    return {}
