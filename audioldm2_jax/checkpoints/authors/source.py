"""The parts inside one of the authors' files, found by what they hold."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from audioldm2_jax.checkpoints import weights
from audioldm2_jax.checkpoints.authors import averages
from audioldm2_jax.checkpoints.convert import finite_floats
from audioldm2_jax.checkpoints.parts import PARTS
from audioldm2_jax.checkpoints.weights import Weights
from audioldm2_jax.errors import InputError, note
from audioldm2_jax.files import user_path

# Training state and constants beside the parts.
_BESIDE = re.compile(
    r"(.*\bmodel_ema\..*|betas|.*alphas_cumprod.*|posterior_.*|lvlb_weights|logvar|(.*\.)?scale_factor|"
    r".*mel_transform\..*|first_stage_model\.loss\..*|loss\..*|.*\.num_batches_tracked|global_step)"
)


@dataclasses.dataclass
class Source:
    """An opened file.

    parts: {part: its tensors under the names that its table knows}. scale: the factor of the
    latents, if the file has one. unused: names of tensors that no part reads. choice_note: which of
    two sets of the U-Net's weights was chosen, "" if the file has one.
    """

    path: Path
    parts: dict[str, Weights]
    scale: float | None
    unused: list[str]
    choice_note: str = ""

    @property
    def is_model(self) -> bool:
        """Whether it is a whole model that generates sound, not a part such as CLAP."""
        return "unet" in self.parts

    def report(self) -> None:
        """Notes on stderr what was chosen and what was left out."""
        if self.choice_note:
            note(f"{self.path}: {self.choice_note}")
        if self.unused:
            note(self.describe_unused())

    def describe_unused(self) -> str:
        """One line on the tensors that no part reads."""
        names = self.unused
        return f"{self.path}: {len(names)} tensors belong to no known part ({names[0]} ...)"


def open_file(path, choice: str = "auto") -> Source:
    """Finds the parts of a file. choice: "raw" weights, their "ema", or "auto".

    "auto" is what the authors' commands sample with: see `averages.choose`. Raises InputError for a
    file without known parts.
    """
    path = user_path(path)
    # A part's mark finds the prefix of its names; the diffusion's constants find that of all names.
    content = weights.unwrap(weights.read(path, choice), lambda name: True)
    content = weights.unwrap(content, ("betas", "logvar", "scale_factor").__contains__)
    prefixes = {name: _prefixes(content, part) for name, part in PARTS.items() if part.authors}
    parts = {name: _under(content, group[0]) for name, group in prefixes.items() if group}
    average, choice_note = averages.find(content, parts.get("unet"), path), ""
    if "unet" in parts or average:
        parts["unet"], choice_note = averages.choose(parts.get("unet"), average, choice, path)
    elif choice == "ema" and parts:
        raise InputError(f"{path}: holds no U-Net, so no moving average of one (--weights ema)")
    if not parts:
        raise InputError(f"{path}: none of the known models is in it ({len(content)} tensors)")
    tensors = {name: _tensors_of(name, parts, path) for name in parts}
    known = tuple(prefix for group in prefixes.values() for prefix in group)
    unused = [n for n in content if not n.startswith(known) and not _BESIDE.fullmatch(n)]
    return Source(path, tensors, _scale(content, path), unused, choice_note)


def _tensors_of(name: str, parts: dict[str, Weights], path: Path) -> Weights:
    gather = PARTS[name].authors.gather
    return gather(parts, path) if gather else parts[name]


def _scale(content: Weights, path: Path) -> float | None:
    """The factor of the latents, if the file has one."""
    name = next((n for n in content if _ends(n, "scale_factor")), None)
    if name is None:
        return None
    values = finite_floats(content[name], f"{path}: tensor {name}").ravel()
    if values.size != 1 or not values[0] > 0:
        raise InputError(f"{path}: tensor {name} is no factor of latents (one number above zero)")
    return float(values[0])


def _prefixes(content: Weights, part) -> list[str]:
    """Prefixes of a part's tensors; those of the model come before copies for ranking (`clap.`)."""
    mark, partner = part.authors.mark, part.authors.partner
    prefixes = [name.removesuffix(mark) for name in content if _ends(name, mark)]
    if partner:
        prefixes = [prefix for prefix in prefixes if f"{prefix}{partner}" in content]
    return sorted(prefixes, key=lambda prefix: (prefix.startswith("clap."), prefix))


def _ends(name: str, mark: str) -> bool:
    return name == mark or name.endswith(f".{mark}")


def _under(content: Weights, prefix: str) -> Weights:
    return content.renamed({n: n.removeprefix(prefix) for n in content if n.startswith(prefix)})
