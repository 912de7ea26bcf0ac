"""Checkpoints in one folder without sub-folders: transformers' models of several networks.

config.json has a section for each part, and one weight file holds all tensors. A family's
`sections` tells which part has which section.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from audioldm2_jax import files
from audioldm2_jax.checkpoints import weights
from audioldm2_jax.checkpoints.config_entries import Entries
from audioldm2_jax.checkpoints.convert import from_params
from audioldm2_jax.checkpoints.families import FAMILIES, Family
from audioldm2_jax.checkpoints.parts import PARTS, PartFiles
from audioldm2_jax.checkpoints.parts.base import TRANSFORMERS_FILE, named_classes
from audioldm2_jax.checkpoints.weights import Weights


def family_of(folder: Path) -> Family | None:
    """The family of such a checkpoint; None for any other folder. Raises InputError for no JSON."""
    path = Path(folder) / "config.json"
    if (Path(folder) / "model_index.json").is_file() or not path.is_file():
        return None
    kinds = named_classes(files.read_json(path))
    return next((f for f in FAMILIES.values() if f.sections and f.pipeline in kinds), None)


def part_files(folder: Path, family: Family) -> dict[str, PartFiles]:
    """{part: the JSON files that describe it}. Raises InputError for a section that is missing."""
    path = folder / "config.json"
    content, result = files.read_json(path), {}
    for name, section in family.sections.items():
        own, names = Entries(content.get(section), f"{path}: {section}").content, PARTS[name].beside
        beside = {n: files.read_json(folder / n) for n in names if (folder / n).is_file()}
        result[name] = PartFiles(own, f"{path}: {section}", beside=beside)
    return result


def tensors_of(source: Weights, family: Family, name: str) -> Weights:
    """The tensors of one part under the names that its table knows.

    Names begin with the part's section, which is removed. The last part keeps whole names, and has
    all tensors that are no other part's.
    """
    prefix = f"{family.sections[name]}."
    if name != _last(family):
        names = [tensor for tensor in source if tensor.startswith(prefix)]
        return source.renamed({tensor: tensor.removeprefix(prefix) for tensor in names})
    others = tuple(f"{section}." for section in family.sections.values())[:-1]
    return source.renamed({n: n for n in source if not n.startswith(others)})


def write(folder: Path, family: Family, config, params: Mapping[str, dict]) -> None:
    """Writes the configurations and the weight file of a model. params: by part."""
    sections, beside, state = {}, {}, {}
    for name, section in family.sections.items():
        part, own = PARTS[name], getattr(config, name)
        written, tensors = part.write(own), from_params(params[name], part.table(own), own)
        sections[section], beside = written.content, beside | dict(written.beside)
        prefix = "" if name == _last(family) else f"{section}."
        state |= {f"{prefix}{tensor}": array for tensor, array in tensors.items()}
    whole = {"architectures": [family.pipeline], "model_type": family.name} | sections
    for name, content in (beside | family.beside(config) | {"config.json": whole}).items():
        files.write_json(folder / name, content, indent=2, sort_keys=True)
    weights.write(folder / TRANSFORMERS_FILE, state)


def _last(family: Family) -> str:
    return [*family.sections][-1]
