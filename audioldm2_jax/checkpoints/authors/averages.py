"""The moving average (EMA) of a U-Net's weights; its stored names have no dots."""

from __future__ import annotations

import functools
import re

from audioldm2_jax.checkpoints.parts import unet_tables
from audioldm2_jax.checkpoints.weights import Weights
from audioldm2_jax.errors import InputError

_AVERAGE = re.compile(r"(?:.*\.)?model_ema\.diffusion_model(.+)")
# Latent channels of AudioLDM's 48 kHz model; the others have 8.
_LATENTS_48K = 16


def find(content: Weights, raw: Weights | None, path) -> Weights | None:
    """The average under the U-Net's names; None if the file has none.

    raw: the file's raw weights, which give the names. Raises InputError for a name that no U-Net
    has, if there are no raw weights.
    """
    names = {m[1]: name for name in content if (m := _AVERAGE.fullmatch(name))}
    if not names:
        return None
    known = {name.replace(".", ""): name for name in raw or ()}
    dotted = {}
    for flat, name in names.items():
        full = known.get(flat) or _with_dots(flat)
        if full is None and raw is None:
            raise InputError(f"{path}: tensor {name} is of no known U-Net")
        if full is not None:
            dotted[name] = full
    if len(set(dotted.values())) != len(dotted):
        raise InputError(f"{path}: two averages (model_ema.*) of one tensor")
    return content.renamed(dotted)


def choose(raw: Weights | None, average: Weights | None, choice: str, path) -> tuple[Weights, str]:
    """(the weights to read, a sentence on the choice if there was one).

    choice: "raw", "ema" or "auto".

    "auto" goes by what the U-Net is, as the authors' commands do: of AudioLDM (conditioned on CLAP
    by FiLM, latents of 8 channels) the average, where it is complete; of all that the command of
    AudioLDM 2 runs (its own, T5 and 48 kHz models) the raw weights. Raises InputError for a choice
    that the file does not hold.
    """
    missing = sorted(set(raw or ()) - set(average or ()))
    if choice == "ema" and (average is None or missing):
        what = f"lacks {missing[0]}" if average is not None else "is not there"
        raise InputError(
            f"{path}: holds no moving average (model_ema.*) of the U-Net: it {what}; use --weights "
            "raw"
        )
    if raw is None:
        if choice == "raw":
            raise InputError(
                f"{path}: holds the moving average (model_ema.*) of the U-Net alone; use --weights "
                "ema"
            )
        return average, "the U-Net's moving average is taken; the file has no raw weights"
    if average is None:
        return raw, ""
    if missing:
        return raw, f"the U-Net's raw weights are taken; its moving average lacks {missing[0]}"
    if choice == "ema" or (choice == "auto" and _of_audioldm(raw)):
        return average, "the U-Net's moving average is taken, not its raw weights (--weights raw)"
    return raw, "the U-Net's raw weights are taken, not their moving average (--weights ema)"


def _of_audioldm(unet: Weights) -> bool:
    first = "input_blocks.0.0.weight"
    shape = unet.shape(first) if first in unet else ()
    return "film_emb.weight" in unet and len(shape) == 4 and shape[1] < _LATENTS_48K


def _with_dots(flat: str) -> str | None:
    """A tensor's name from one without dots."""
    for pattern, source in _patterns():
        if match := pattern.fullmatch(flat):
            return source.format(*match.groups())
    return None


@functools.cache
def _patterns() -> list[tuple[re.Pattern, str]]:
    """[(pattern of a name without its dots, the name with {} for its numbers)].

    If two numbers stand side by side, block and layer, the layer has one digit.
    """
    sources = {source for rule in unet_tables.authors_rules() for source, _, _ in rule.pairs()}
    return [(_flat(source), source) for source in sorted(sources)]


def _flat(source: str) -> re.Pattern:
    pattern = re.escape(source).replace(r"\{\}\.\{\}", r"(\d+)(\d)").replace(r"\{\}", r"(\d+)")
    return re.compile(pattern.replace(r"\.", ""))
