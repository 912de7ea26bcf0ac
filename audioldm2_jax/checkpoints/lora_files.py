"""LoRA files: diffusers' names, read and written; those of PEFT, kohya and our older files, read.

A layer's change is `strength * scale * B @ A`, where scale is alpha / rank and 1 without an alpha.
Some layers are one tensor in the hub layout and several kernels of ours: GPT-2's query, key, value.
"""

from __future__ import annotations

import functools
import json
import math
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from audioldm2_jax import files, tree
from audioldm2_jax.checkpoints import weights
from audioldm2_jax.checkpoints.convert import Table, finite_floats
from audioldm2_jax.checkpoints.parts import PARTS
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import ModelConfig

# Parts under their pipeline's names, or with kohya's underscores. Names without a prefix are tried
# with each part of _UNNAMED.
_FOLDERS = {name: PARTS[name].folder for name in ("clap", "t5", "gpt2", "projection", "unet")}
_UNNAMED = ("unet", "gpt2", "t5", "clap")
_FILES = ("adapter_model", "pytorch_lora_weights")
_SETTINGS = "adapter_config.json"
_RANK = "audioldm2_jax_rank"
_HALVES = {
    **dict.fromkeys(("lora_A", "lora_down", "lora.down"), "a"),
    **dict.fromkeys(("lora_B", "lora_up", "lora.up"), "b"),
}
_NAME = re.compile(
    r"(?P<layer>.+?)(?:\.(?P<half>lora_[AB]|lora_down|lora_up|lora\.down|lora\.up)"
    r"(?:\.\w+)?\.weight|_(?P<old>lora\.down|lora\.up)\.weight|\.(?P<alpha>alpha))"
)


def load(path) -> dict:
    """The LoRA of a file: {part: tree}, with {a [inputs, rank], b [rank, outputs]} at each kernel.

    path: a file, or the folder that PEFT or diffusers saves. Raises InputError for a file that
    holds something else, or changes layers that none of our models has.
    """
    file, settings = _locate(files.user_path(path))
    source = weights.read(file)
    if not len(source):
        raise InputError(f"{file}: not a LoRA file, it holds no tensors")
    if all(name.rpartition("/")[2] in ("a", "b") and "/kernel/" in name for name in source):
        return _load_own(source, file)
    settings = settings or _embedded(source, file)
    layers: dict[str, dict[str, str]] = {}
    for name in source:
        layer, half = _parse(name, file)
        if half in layers.setdefault(layer, {}):
            raise InputError(f"{file}: {layer} is changed twice")
        layers[layer][half] = name
    own, changes, scale = _own_rank(source), {}, _Scale(settings, file)
    for layer, names in layers.items():
        for i, (kernel, a, b) in enumerate(_layer(layer, names, source, scale, file)):
            if f"{kernel}/a" in changes:
                raise InputError(f"{file}: {kernel} is changed twice")
            # `save` stacks the kernels of one tensor; these are this kernel's ranks.
            ranks = slice(i * own, (i + 1) * own) if own else slice(None)
            changes[f"{kernel}/a"], changes[f"{kernel}/b"] = a[..., ranks], b[ranks]
    scale.check()
    return tree.unflatten({name: jnp.asarray(value) for name, value in changes.items()})


def _own_rank(source: weights.Weights) -> int:
    """The rank of each kernel's change in a file that `save` wrote; 0 in others."""
    text = source.metadata.get(_RANK)
    own = int(text) if isinstance(text, str) and re.fullmatch("[0-9]{1,5}", text) else 0
    padded = all(source.shape(name)[:1] >= (own,) for name in source if name.endswith("A.weight"))
    return own if padded else 0


def _locate(path: Path) -> tuple[Path, dict]:
    """(the weight file, PEFT's settings where they lie beside it)."""
    folder = path if path.is_dir() else path.parent
    if path.is_dir():
        names = [f"{stem}.{kind}" for stem in _FILES for kind in ("safetensors", "bin")]
        path = next((folder / name for name in names if (folder / name).is_file()), None)
        if path is None:
            raise InputError(f"{folder}: holds no LoRA file ({names[0]} or {names[2]})")
    elif not path.is_file():
        raise InputError(f"{path}: no such LoRA file")
    settings = folder / _SETTINGS
    beside = path.stem == _FILES[0] and settings.is_file()
    return path, files.read_json(settings) if beside else {}


def _embedded(source: weights.Weights, file: Path) -> dict:
    """PEFT's settings that diffusers keeps in the file, for each part behind its prefix."""
    text = source.metadata.get("lora_adapter_metadata")
    if text is None:
        return {}
    try:
        settings = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise InputError(f"{file}: its lora_adapter_metadata is not readable as JSON")
    return settings


def _parse(name: str, file: Path) -> tuple[str, str]:
    """(layer, "a", "b" or "alpha") of a tensor's name."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise InputError(f"{file}: {name} is not of a LoRA file, or of a kind that is not read")
    layer = match["layer"]
    if match["old"]:
        # diffusers' attention processors, which held the changes of four layers.
        layer = layer.replace(".processor.", ".")
        layer = f"{layer}.0" if layer.endswith("to_out") else layer
    layer = layer.removeprefix("base_model.model.")
    half = _HALVES[match["half"] or match["old"]] if not match["alpha"] else "alpha"
    return layer, half


class _Scale:
    """alpha / rank of each layer from PEFT's settings, for layers without an alpha tensor."""

    def __init__(self, settings: dict, file: Path):
        self.settings, self.file, self.unused = settings, file, set()
        # One set of settings, or one for each part.
        self.groups = {folder: self._of(f"{folder}.") for folder in _FOLDERS.values()}
        self.common = self._of("")

    def _of(self, prefix: str) -> dict:
        names = ("lora_alpha", "alpha_pattern", "use_rslora", "use_dora", "peft_type")
        settings = {n: self.settings[prefix + n] for n in names if prefix + n in self.settings}
        pattern, alpha = settings.get("alpha_pattern") or {}, settings.get("lora_alpha")
        values = [*pattern.values(), alpha] if isinstance(pattern, dict) else [""]
        if not all(v is None or (type(v) in (int, float) and math.isfinite(v)) for v in values):
            raise InputError(f"{self.file}: lora_alpha and alpha_pattern are not numbers")
        if settings.get("use_dora") or settings.get("peft_type") not in (None, "LORA"):
            raise InputError(f"{self.file}: DoRA and other kinds than LoRA are not read")
        self.unused |= {prefix + name for name in pattern}
        return settings | {"alpha_pattern": pattern}

    def __call__(self, part: str, layer: str, rank: int) -> float:
        folder = _FOLDERS[part]
        group = self.groups[folder]
        prefix, settings = (f"{folder}.", group) if len(group) > 1 else ("", self.common)
        alpha = settings.get("lora_alpha")
        for name, value in settings["alpha_pattern"].items():
            own = name.removeprefix("^")
            if layer == own or layer.endswith(f".{own}"):
                alpha = value
                self.unused.discard(prefix + name)
        root = math.sqrt(rank) if settings.get("use_rslora") is True else rank
        return 1.0 if alpha is None else alpha / root

    def check(self) -> None:
        if self.unused:
            name = min(self.unused)
            raise InputError(f"{self.file}: alpha_pattern {name!r:.100} names none of its layers")


def _layer(layer: str, names: dict, source, scale: _Scale, file: Path) -> list:
    """[(kernel's path, a, b)] of one layer."""
    if "a" not in names or "b" not in names:
        raise InputError(f"{file}: half of {layer} is missing")
    part, inner, kernels = _kernels(layer, file)
    a, b = (finite_floats(source[names[h]], f"{file}: {names[h]}").astype(np.float32) for h in "ab")
    _check_shapes(layer, a, b, len(kernels), file)
    rank = a.shape[0]
    if "alpha" in names:
        alpha = finite_floats(source[names["alpha"]], f"{file}: {names['alpha']}")
        if alpha.size != 1:
            raise InputError(f"{file}: {names['alpha']} is no single number")
        factor = float(alpha.reshape(())) / rank
    else:
        factor = scale(part, inner, rank)
    # The taps of a convolution are in a. A convolution of one tap is a matrix of ours.
    taps = a.ndim == 4 and a.shape[2:] != (1, 1)
    a = a.transpose(2, 3, 1, 0) if taps else a.reshape(rank, -1).T
    b = b.reshape(b.shape[0], rank).T * np.float32(factor)
    return [(kernel, a, piece) for kernel, piece in zip(kernels, np.split(b, len(kernels), 1))]


def _check_shapes(layer: str, a, b, count: int, file: Path) -> None:
    plain = a.ndim == b.ndim and a.ndim in (2, 4) and 0 not in (*a.shape, *b.shape)
    if not plain or a.shape[0] != b.shape[1] or b.shape[2:] not in ((), (1, 1)):
        raise InputError(f"{file}: the halves of {layer} do not fit: {a.shape} and {b.shape}")
    if b.shape[0] % count:
        raise InputError(f"{file}: {layer} has {b.shape[0]} outputs, which are not {count} layers'")


def _kernels(layer: str, file: Path) -> tuple[str, str, tuple[str, ...]]:
    """(part, layer inside it, kernels' paths) of a layer."""
    for part, folder in _FOLDERS.items():
        for prefix, flat in ((f"{folder}.", False), (f"lora_{folder}_", True)):
            if layer.startswith(prefix):
                inner = layer.removeprefix(prefix)
                if paths := _paths(part, inner, flat):
                    return part, inner, paths
    for part in _UNNAMED:
        if paths := _paths(part, layer, False):
            return part, layer, paths
    raise InputError(f"{file}: {layer} is no layer of a model that is known here")


def _paths(part: str, layer: str, flat: bool) -> tuple[str, ...]:
    """Kernels' paths, with the part; none if the part has no such layer.

    flat: the layer's name has underscores in place of dots.
    """
    canonical = _table(part).canonical(f"{layer}.weight")
    for pattern, targets in _patterns(part, flat):
        if match := pattern.fullmatch(canonical or ""):
            return tuple(f"{part}/{target.format(*match.groups())}" for target in targets)
    return ()


@functools.cache
def _patterns(part: str, flat: bool) -> list[tuple[re.Pattern, tuple[str, ...]]]:
    patterns = []
    for source, targets in _matrices(part):
        text = re.escape(source).replace(r"\{\}", r"(\d+)") + r"\.weight"
        text = text.replace(r"\.", "_").removesuffix("_weight") + r"\.weight" if flat else text
        patterns.append((re.compile(text), targets))
    return patterns


def _table(part: str) -> Table:
    """A part's table; the names of its layers are the same for every configuration."""
    return PARTS[part].table(getattr(ModelConfig(), part))


def _matrices(part: str) -> list[tuple[str, tuple[str, ...]]]:
    """[(layer, its kernels)] of a part's table, with {} for numbers."""
    return [
        (source.removesuffix(".weight"), targets)
        for rule in _table(part).rules
        for source, targets, _ in rule.pairs()
        if source.endswith(".weight") and all(t.endswith("/kernel") for t in targets)
    ]


def _load_own(source: weights.Weights, file: Path) -> dict:
    """A file of our own older form: PART/PATH/kernel/a and b."""
    changes = {}
    for name in source:
        kernel, _, half = name.rpartition("/")
        other = f"{kernel}/{'b' if half == 'a' else 'a'}"
        if other not in source:
            raise InputError(f"{file}: half of {kernel} is missing")
        if len(source.shape(name)) != 2:
            raise InputError(f"{file}: {name} has shape {source.shape(name)}, which is no matrix")
        changes[name] = finite_floats(source[name], f"{file}: {name}").astype(np.float32)
    for name in changes:
        kernel, _, half = name.rpartition("/")
        a, b = changes[f"{kernel}/a"], changes[f"{kernel}/b"]
        if a.shape[1] != b.shape[0] or not a.shape[1]:
            raise InputError(f"{file}: the halves of {kernel} do not fit: {a.shape} and {b.shape}")
    return tree.unflatten({name: jnp.asarray(value) for name, value in changes.items()})


def save(change: dict, path) -> None:
    """Writes a LoRA (see `load`) under diffusers' names; the file is whole or absent.

    All layers of a part get one rank, so that every reader scales them alike. Kernels that are one
    tensor in the hub layout are stacked along the rank. Raises InputError if it cannot be written.
    """
    flat = {name: np.asarray(value, np.float32) for name, value in tree.flatten(change).items()}
    state, ranks = {}, {value.shape[-1] for name, value in flat.items() if name.endswith("/a")}
    for part in change:
        groups = _groups(part, flat)
        rank = max(ranks) * max((len(targets) for _, targets in groups), default=1)
        for layer, targets in groups:
            a, b = _stacked(flat, targets, max(ranks), rank)
            name = f"{_FOLDERS[part]}.{layer}"
            state |= {f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b}
    path = files.user_path(path)
    weights.write(path, state, {_RANK: str(max(ranks))} if len(ranks) == 1 else {})


def _groups(part: str, flat: dict) -> list[tuple[str, tuple[str, ...]]]:
    """[(layer in the file, its kernels)]. Raises ValueError for a kernel without a name there."""
    remaining = {
        n.removesuffix("/a") for n in flat if n.startswith(f"{part}/") and n.endswith("/a")
    }
    groups = {}
    for layer, targets in _matrices(part):
        for target in targets:
            pattern = re.compile(re.escape(f"{part}/{target}").replace(r"\{\}", r"(\d+)"))
            for match in filter(None, map(pattern.fullmatch, sorted(remaining))):
                full = tuple(f"{part}/{t.format(*match.groups())}" for t in targets)
                groups[layer.format(*match.groups())] = full
                remaining.discard(match[0])
    if remaining:
        raise ValueError(f"no rule exports {min(remaining)}")
    return sorted(groups.items())


def _stacked(flat: dict, targets: tuple[str, ...], own: int, rank: int):
    """(A [rank, inputs], B [outputs, rank]) of kernels that are one tensor in the file."""
    present = [i for i, target in enumerate(targets) if f"{target}/a" in flat]
    first = targets[present[0]]
    inputs, outputs = flat[f"{first}/a"].shape[0], flat[f"{first}/b"].shape[1]
    a = np.zeros((rank, inputs), np.float32)
    b = np.zeros((len(targets) * outputs, rank), np.float32)
    for i in present:
        size = flat[f"{targets[i]}/a"].shape[1]
        a[i * own : i * own + size] = flat[f"{targets[i]}/a"].T
        b[i * outputs : (i + 1) * outputs, i * own : i * own + size] = flat[f"{targets[i]}/b"].T
    return a, b
