"""Conversion between torch state dicts and parameter trees by one table per model.

A rule pairs a module's name there with its path here; its kind says how weights are laid out. Every
rule is invertible, so the same table exports.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import jax
import ml_dtypes
import numpy as np

from audioldm2_jax import tree
from audioldm2_jax.checkpoints.weights import Weights, unwrapped
from audioldm2_jax.errors import InputError


@dataclass(frozen=True)
class Layout:
    """How one tensor is stored there (`out`) and here (`into`).

    Where one tensor there is several here, `into` returns and `out` takes all of them; `whole` is
    then the layout of what they are along `axis` together.
    """

    into: Callable
    out: Callable
    whole: Layout | None = None
    axis: int = 0


def _split(layout: Layout, count: int, axis: int) -> Layout:
    """The layout of a tensor that is `count` tensors here."""
    return Layout(
        lambda x: np.split(layout.into(x), count, axis),
        lambda *parts: layout.out(np.concatenate(parts, axis)),
        layout,
        axis,
    )


def _permuted(*axes) -> Layout:
    inverse = tuple(int(i) for i in np.argsort(axes))
    return Layout(lambda x: x.transpose(axes), lambda x: x.transpose(inverse))


def _turned(x):
    """A matrix's transpose, copied in strips: seven times faster than numpy's own order."""
    if x.ndim != 2:
        raise ValueError(x.shape)
    out = np.empty(x.shape[::-1], x.dtype)
    for i in range(0, x.shape[0], 8):
        out[:, i : i + 8] = x[i : i + 8].T
    return out


SAME = Layout(lambda x: x, lambda x: x)
_DENSE = Layout(_turned, lambda x: x.T)
_POINT1D = Layout(lambda x: _turned(x[:, :, 0]), lambda x: x.T[:, :, None])
_POINT = Layout(lambda x: _turned(x[:, :, 0, 0]), lambda x: x.T[:, :, None, None])

# kind: {name there: (name here, layout)}; "" is the rule's own name, without a suffix.
Kind = Mapping[str, tuple[str, Layout]]
LINEAR: Kind = {"weight": ("kernel", _DENSE), "bias": ("bias", SAME)}
POINTWISE: Kind = {"weight": ("kernel", _POINT), "bias": ("bias", SAME)}
POINTWISE1D: Kind = {"weight": ("kernel", _POINT1D), "bias": ("bias", SAME)}
CONV1D: Kind = {"weight": ("kernel", _permuted(2, 1, 0)), "bias": ("bias", SAME)}
CONV2D: Kind = {"weight": ("kernel", _permuted(2, 3, 1, 0)), "bias": ("bias", SAME)}
TRANSPOSED: Kind = {"weight": ("kernel", _permuted(2, 0, 1)), "bias": ("bias", SAME)}
# GPT-2's Conv1D keeps [in, out].
UNTURNED: Kind = {"weight": ("kernel", SAME), "bias": ("bias", SAME)}
NORM: Kind = {"weight": ("scale", SAME), "bias": ("bias", SAME)}
VITS_NORM: Kind = {"gamma": ("scale", SAME), "beta": ("bias", SAME)}
BATCH_NORM: Kind = NORM | {"running_mean": ("mean", SAME), "running_var": ("variance", SAME)}
EMBEDDING: Kind = {"weight": ("embedding", SAME)}
PLAIN: Kind = {"": ("", SAME)}
# A linear layer's weight or a vector alone, where their names follow no pattern.
MATRIX: Kind = {"": ("", _DENSE)}
# One leading axis of length one there.
UNSQUEEZED: Kind = {"": ("", Layout(lambda x: x.reshape(x.shape[1:]), lambda x: x[None]))}
TURNED_UNSQUEEZED: Kind = {"": ("", Layout(lambda x: x[0].T, lambda x: x.T[None]))}


@dataclass(frozen=True)
class Rule:
    """`source` there, `target` here, both with {} for indices in the same order.

    A tuple of targets splits the tensor into equal parts along `axis` (of the array here; the last
    is the output's).
    """

    source: str
    target: str | tuple[str, ...]
    kind: Kind
    axis: int = -1

    def pairs(self):
        """(source pattern, target patterns, layout) for each tensor of the kind."""
        targets = (self.target,) if isinstance(self.target, str) else self.target
        for there, (here, layout) in self.kind.items():
            source = f"{self.source}.{there}" if there else self.source
            paths = tuple(f"{t}/{here}" if here else t for t in targets)
            yield (
                source,
                paths,
                layout if len(paths) == 1 else _split(layout, len(paths), self.axis),
            )


@dataclass(frozen=True)
class Table:
    """All rules of one model.

    renames: (pattern, replacement) for other versions' names, applied first. ignored: patterns of
    tensors that carry nothing (position ids, counters). constants: such tensors as the reference
    library expects them in its own file, as a function of the configuration.
    """

    rules: tuple[Rule, ...]
    renames: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()
    constants: Callable = lambda config: {}

    def canonical(self, name: str) -> str | None:
        """The name after renames; None if ignored."""
        for pattern, replacement in self.renames:
            name = re.sub(pattern, replacement, name)
        return None if any(re.fullmatch(p, name) for p in self.ignored) else name

    def exact(self):
        """{source: (targets, layout)} of the rules without indices."""
        pairs = (pair for rule in self.rules for pair in rule.pairs())
        return {
            source: (targets, layout) for source, targets, layout in pairs if "{}" not in source
        }

    def patterns(self):
        """[(regex of the source, target patterns, layout)] of the rules with indices."""
        pairs = (pair for rule in self.rules for pair in rule.pairs())
        return [
            (_regex(source), targets, layout) for source, targets, layout in pairs if "{}" in source
        ]


@functools.cache
def _regex(pattern: str) -> re.Pattern:
    return re.compile(re.escape(pattern).replace(r"\{\}", r"(\d+)"))


def finite(array: np.ndarray) -> bool:
    """Whether a tensor of floats holds neither NaN nor infinity: a look at the exponents' bits."""
    bits, mask = _EXPONENTS[array.dtype]
    flat = np.ascontiguousarray(array).reshape(-1).view(bits)
    # In pieces that stay in the cache.
    pieces = (flat[i : i + (1 << 18)] for i in range(0, flat.size, 1 << 18))
    return all(int((piece & mask).max()) != mask for piece in pieces)


_EXPONENTS = {
    np.dtype(kind): (bits, bits(mask))
    for kind, bits, mask in (
        (np.float64, np.uint64, 0x7FF0000000000000),
        (np.float32, np.uint32, 0x7F800000),
        (np.float16, np.uint16, 0x7C00),
        (ml_dtypes.bfloat16, np.uint16, 0x7F80),
    )
}


def checked(array: np.ndarray, where: str) -> np.ndarray:
    """The tensor, of at most 32 bits. Raises InputError unless all of it are finite floats."""
    if array.dtype not in _EXPONENTS:
        raise InputError(f"{where} is stored as {array.dtype}; weights are floats")
    if array.dtype == np.float64:
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
    if not finite(array):
        raise InputError(f"{where} holds NaN or infinity; the file is damaged, or its training was")
    return array


def cast_to(dtype) -> Callable:
    """What `to_params` does with each array: cast, and put where JAX computes."""
    return lambda array: jax.device_put(array.astype(dtype, copy=False))


def to_params(source: Mapping, table: Table, like: dict, *, put=jax.device_put, where="") -> dict:
    """State dict -> parameters shaped as `like` (a tree of shapes, from `jax.eval_shape`).

    Tensors are read, turned and handed to `put` a few at a time, so that a file never lies in
    memory beside the parameters. `where` names the file in errors.
    Raises InputError for a missing, unexpected or wrongly shaped tensor, and for one that holds
    anything but finite floats.
    """
    if isinstance(source, Weights):
        source = unwrapped(source, known_to(table))
    shapes = {path: tuple(leaf.shape) for path, leaf in tree.flatten(like).items()}
    found = _find(source, table, where)
    for name, targets, _ in found:
        if unknown := [path for path in targets if path not in shapes]:
            raise InputError(
                f"{where}: tensor {name} is not in the configured model ({unknown[0]})"
            )
    missing = sorted(set(shapes) - {path for _, targets, _ in found for path in targets})
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(f"{where}: tensor {_source_name(missing[0], table)}{more} is missing")

    def convert(entry):
        name, targets, layout = entry
        shape = tuple(source.shape(name) if isinstance(source, Weights) else source[name].shape)
        wanted = _source_shape(targets, layout, shapes)
        if shape != wanted:
            raise InputError(f"{where}: tensor {name} has shape {shape}, expected {wanted}")
        array = checked(source[name], f"{where}: tensor {name}")
        parts = layout.into(array)
        parts = dict(zip(targets, parts if len(targets) > 1 else [parts]))
        return {path: put(part) for path, part in parts.items()}

    filled = {}
    with ThreadPoolExecutor(max_workers=4) as pool:
        for leaves in pool.map(convert, found):
            filled |= leaves
    return tree.unflatten(filled)


def _find(source, table, where):
    """[(name, target paths, layout)] of the tensors that carry something, each once."""
    exact, patterns, origin, found = table.exact(), table.patterns(), {}, []
    for name in source:
        canonical = table.canonical(name)
        if canonical is None:
            continue
        if canonical in origin:
            # Tied tensors may be stored twice.
            if not np.array_equal(source[name], source[origin[canonical]]):
                raise InputError(
                    f"{where}: {name} and {origin[canonical]} should be the same tensor"
                )
            continue
        origin[canonical] = name
        targets = exact.get(canonical) or _match(canonical, patterns)
        if targets is None:
            raise InputError(f"{where}: unexpected tensor {name}")
        found.append((name, *targets))
    return found


def from_params(params: dict, table: Table, config=None) -> dict[str, np.ndarray]:
    """Parameters -> state dict with the reference library's names; inverse of `to_params`."""
    flat, state = tree.flatten(params), {}
    for rule in table.rules:
        for source, targets, layout in rule.pairs():
            first = _regex(targets[0])
            known = list(flat) if "{}" in targets[0] else [p for p in targets[:1] if p in flat]
            for path in [p for p in known if first.fullmatch(p)]:
                index = first.fullmatch(path).groups()
                parts = [np.asarray(flat.pop(t.format(*index))) for t in targets]
                state[source.format(*index)] = np.asarray(layout.out(*parts), order="C")
    if flat:
        raise ValueError(f"no rule exports {min(flat)}")
    return state | table.constants(config)


def _match(canonical, patterns):
    for pattern, targets, layout in patterns:
        if found := pattern.fullmatch(canonical):
            return tuple(t.format(*found.groups()) for t in targets), layout
    return None


def _source_shape(targets, layout, shapes) -> tuple[int, ...]:
    """The shape that a tensor must have there, from the shapes here; no memory is taken."""
    shape = list(shapes[targets[0]])
    if layout.whole:
        shape[layout.axis] = sum(shapes[target][layout.axis] for target in targets)
    return (layout.whole or layout).out(np.broadcast_to(np.float32(0), shape)).shape


def known_to(table: Table) -> Callable[[str], bool]:
    """Whether a tensor of a name carries something in the model."""
    exact, patterns = table.exact(), table.patterns()

    def known(name: str) -> bool:
        canonical = table.canonical(name)
        return canonical is not None and bool(
            canonical in exact or _match(canonical, patterns) is not None
        )

    return known


def _source_name(path, table):
    for rule in table.rules:
        for source, targets, _ in rule.pairs():
            for target in targets:
                if found := _regex(target).fullmatch(path):
                    return source.format(*found.groups())
    return path
