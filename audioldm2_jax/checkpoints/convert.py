"""Conversion between torch state dicts and parameter trees by one table per model.

A rule pairs a module's name in the source (a torch state dict) with its path in the target (our
parameter tree). Its kind is the layout of the weights. Every rule is invertible, so the same table
exports.
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
from audioldm2_jax.checkpoints.weights import Weights, as_weights, unwrap
from audioldm2_jax.errors import InputError


@dataclass(frozen=True)
class Layout:
    """How a tensor's storage changes from source to target (`into`) and back (`out`).

    If one source tensor is several target arrays, `into` returns and `out` takes all of them.
    `fused` is then the layout of their concatenation along `axis`.
    """

    into: Callable
    out: Callable
    fused: Layout | None = None
    axis: int = 0


def _split(layout: Layout, count: int, axis: int) -> Layout:
    """The layout of a source tensor that is `count` target arrays."""
    return Layout(
        lambda x: np.split(layout.into(x), count, axis),
        lambda *parts: layout.out(np.concatenate(parts, axis)),
        layout,
        axis,
    )


def _permuted(*axes) -> Layout:
    inverse = tuple(int(i) for i in np.argsort(axes))
    return Layout(lambda x: x.transpose(axes), lambda x: x.transpose(inverse))


def _transpose(x):
    """The transpose of a matrix, copied in strips: seven times faster than numpy's own order."""
    if x.ndim != 2:
        raise ValueError(x.shape)
    out = np.empty(x.shape[::-1], x.dtype)
    for i in range(0, x.shape[0], 8):
        out[:, i : i + 8] = x[i : i + 8].T
    return out


SAME = Layout(lambda x: x, lambda x: x)
_DENSE = Layout(_transpose, lambda x: x.T)
_POINT1D = Layout(lambda x: _transpose(x[:, :, 0]), lambda x: x.T[:, :, None])
_POINT = Layout(lambda x: _transpose(x[:, :, 0, 0]), lambda x: x.T[:, :, None, None])

# {name in the source: (name in the target, layout)}; "" is the rule's own name, without a suffix.
Kind = Mapping[str, tuple[str, Layout]]
LINEAR: Kind = {"weight": ("kernel", _DENSE), "bias": ("bias", SAME)}
POINTWISE: Kind = {"weight": ("kernel", _POINT), "bias": ("bias", SAME)}
POINTWISE1D: Kind = {"weight": ("kernel", _POINT1D), "bias": ("bias", SAME)}
CONV1D: Kind = {"weight": ("kernel", _permuted(2, 1, 0)), "bias": ("bias", SAME)}
CONV2D: Kind = {"weight": ("kernel", _permuted(2, 3, 1, 0)), "bias": ("bias", SAME)}
CONV1D_TRANSPOSE: Kind = {"weight": ("kernel", _permuted(2, 0, 1)), "bias": ("bias", SAME)}
# A linear layer that the source stores as [in, out], as GPT-2's Conv1D does.
LINEAR_IN_OUT: Kind = {"weight": ("kernel", SAME), "bias": ("bias", SAME)}
NORM: Kind = {"weight": ("scale", SAME), "bias": ("bias", SAME)}
VITS_NORM: Kind = {"gamma": ("scale", SAME), "beta": ("bias", SAME)}
BATCH_NORM: Kind = NORM | {"running_mean": ("mean", SAME), "running_var": ("variance", SAME)}
EMBEDDING: Kind = {"weight": ("embedding", SAME)}
PLAIN: Kind = {"": ("", SAME)}
# The weight of a linear layer alone, for names without a pattern.
MATRIX: Kind = {"": ("", _DENSE)}
# The source has a leading axis of length one.
UNSQUEEZED: Kind = {"": ("", Layout(lambda x: x.reshape(x.shape[1:]), lambda x: x[None]))}
UNSQUEEZED_TRANSPOSED: Kind = {"": ("", Layout(lambda x: x[0].T, lambda x: x.T[None]))}


@dataclass(frozen=True)
class Rule:
    """A module's name in the source and its path in the target, with {} for indices in one order.

    A tuple of targets splits the tensor into equal parts along `axis` of the target array. The last
    axis is the output's.
    """

    source: str
    target: str | tuple[str, ...]
    kind: Kind
    axis: int = -1

    def pairs(self):
        """(source pattern, target patterns, layout) for each tensor of the kind."""
        targets = (self.target,) if isinstance(self.target, str) else self.target
        for source_leaf, (target_leaf, layout) in self.kind.items():
            source = f"{self.source}.{source_leaf}" if source_leaf else self.source
            paths = tuple(f"{t}/{target_leaf}" if target_leaf else t for t in targets)
            yield (
                source,
                paths,
                layout if len(paths) == 1 else _split(layout, len(paths), self.axis),
            )


@dataclass(frozen=True)
class Table:
    """All rules of one model.

    renames: (pattern, replacement) for names of other versions, applied first.
    ignored: patterns of source tensors that are not parameters (position ids, counters).
    constants: {name: array} that the reference library expects in its file beside the parameters,
        as a function of the configuration.
    fold: the tensors that the rules name from those of a file, which it is given with the file's
        path for messages; unfold: its inverse on a state dict. None where they are the same.
    """

    rules: tuple[Rule, ...]
    renames: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()
    constants: Callable = lambda config: {}
    fold: Callable[[Weights, str], Weights] | None = None
    unfold: Callable[[dict], dict] | None = None

    def canonical(self, name: str) -> str | None:
        """A source name after renames; None if it is ignored."""
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


def is_finite(array: np.ndarray) -> bool:
    """Whether a tensor of floats holds neither NaN nor infinity, by the bits of the exponents."""
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


def finite_floats(array: np.ndarray, where: str) -> np.ndarray:
    """The tensor in at most 32 bits. Raises InputError unless it holds finite floats alone."""
    if array.dtype not in _EXPONENTS:
        raise InputError(f"{where} is stored as {array.dtype}; weights are floats")
    if array.dtype == np.float64:
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
    if not is_finite(array):
        raise InputError(f"{where} holds NaN or infinity; the file is damaged, or its training was")
    return array


def cast_to(dtype) -> Callable:
    """A `put` of `to_params`: casts an array and places it on JAX's device."""
    return lambda array: jax.device_put(array.astype(dtype, copy=False))


def to_params(source: Mapping, table: Table, like: dict, *, put=jax.device_put, where="") -> dict:
    """State dict -> parameters.

    like: tree of the parameters' shapes, from `jax.eval_shape`. put: receives each converted array.
    where: the file, for messages. Tensors are read and converted a few at a time, so the whole file
    is never in memory beside the parameters. Raises InputError for a missing, unexpected or wrongly
    shaped tensor, and for values that are not finite floats.
    """
    if isinstance(source, Weights):
        source = unwrap(source, known_to(table))
    if table.fold:
        source = table.fold(as_weights(source), where)
    shapes = {path: tuple(leaf.shape) for path, leaf in tree.flatten(like).items()}
    matches = _match_all(source, table, where)
    for name, targets, _ in matches:
        if unknown := [path for path in targets if path not in shapes]:
            raise InputError(
                f"{where}: tensor {name} is not in the configured model ({unknown[0]})"
            )
    missing = sorted(set(shapes) - {path for _, targets, _ in matches for path in targets})
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(f"{where}: tensor {_source_name(missing[0], table)}{more} is missing")

    def convert(entry):
        name, targets, layout = entry
        shape = tuple(source.shape(name) if isinstance(source, Weights) else source[name].shape)
        expected = _source_shape(targets, layout, shapes)
        if shape != expected:
            raise InputError(f"{where}: tensor {name} has shape {shape}, expected {expected}")
        array = finite_floats(source[name], f"{where}: tensor {name}")
        parts = layout.into(array)
        parts = dict(zip(targets, parts if len(targets) > 1 else [parts]))
        return {path: put(part) for path, part in parts.items()}

    flat = {}
    with ThreadPoolExecutor(max_workers=4) as pool:
        for leaves in pool.map(convert, matches):
            flat |= leaves
    return tree.unflatten(flat)


def _match_all(source, table, where):
    """[(name, target paths, layout)] of the tensors that are parameters, each once."""
    exact, patterns, origin, matches = table.exact(), table.patterns(), {}, []
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
        matches.append((name, *targets))
    return matches


def from_params(params: dict, table: Table, config=None) -> dict[str, np.ndarray]:
    """Parameters -> state dict {source name: array}; the inverse of `to_params`.

    config: of the model, for the table's constants.
    """
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
    state |= table.constants(config)
    return table.unfold(state) if table.unfold else state


def _match(canonical, patterns):
    for pattern, targets, layout in patterns:
        if match := pattern.fullmatch(canonical):
            return tuple(t.format(*match.groups()) for t in targets), layout
    return None


def _source_shape(targets, layout, shapes) -> tuple[int, ...]:
    """The shape that a source tensor must have, from the target shapes; nothing is allocated."""
    shape = list(shapes[targets[0]])
    if layout.fused:
        shape[layout.axis] = sum(shapes[target][layout.axis] for target in targets)
    return (layout.fused or layout).out(np.broadcast_to(np.float32(0), shape)).shape


def known_to(table: Table) -> Callable[[str], bool]:
    """A test of whether a source name is a parameter of the model."""
    exact, patterns = table.exact(), table.patterns()

    def known(name: str) -> bool:
        canonical = table.canonical(name)
        return canonical is not None and (
            canonical in exact or _match(canonical, patterns) is not None
        )

    return known


def _source_name(path, table):
    for rule in table.rules:
        for source, targets, _ in rule.pairs():
            for target in targets:
                if match := _regex(target).fullmatch(path):
                    return source.format(*match.groups())
    return path
