"""Evaluation protocols: each rule that a figure depends on, for the toolkits of this field.

A figure is comparable with another only where both protocols have the same hash. `differences`
names each rule in which two protocols differ; docs/evaluation.md has them all in one table.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation import published
from audioldm2_jax.evaluation.rules import (
    METRIC_SLOTS,
    UNAVAILABLE,
    BackboneSpec,
    EvalProtocol,
    LoaderRules,
)

__all__ = [
    "METRIC_SLOTS",
    "PROTOCOLS",
    "UNAVAILABLE",
    "BackboneSpec",
    "EvalProtocol",
    "LoaderRules",
    "differences",
    "flat_rules",
    "markdown_table",
    "named_protocol",
    "protocol_hash",
    "word",
]

PROTOCOLS = {protocol.name: protocol for protocol in published.ALL}


def named_protocol(name: str) -> EvalProtocol:
    """A protocol of PROTOCOLS. Raises InputError for another name."""
    if name not in PROTOCOLS:
        raise InputError(f"no protocol {name!r}; choose one of {' '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def flat_rules(protocol: EvalProtocol) -> dict[str, object]:
    """The protocol's rules by dotted name, without its own name and source."""
    flat = dataclasses.asdict(protocol)
    slots = dict(flat.pop("slots"))
    del flat["name"], flat["source"]
    for slot, spec in slots.items():
        loader = spec.pop("loader")
        flat |= {f"{slot}.{key}": value for key, value in spec.items()}
        flat |= {f"{slot}.loader.{key}": value for key, value in loader.items()}
    return flat


def protocol_hash(
    protocol: EvalProtocol,
    backbones: Mapping[str, str] | None = None,
    settings: Mapping[str, object] | None = None,
) -> str:
    """12 hex digits of the SHA-256 of all rules; the names of protocol and source do not count.

    backbones: {name: SHA-256 of the weights}. settings: what else decides the figures (number of
    clips, settings of generation), as JSON can hold it.
    """
    content = {
        "rules": flat_rules(protocol),
        "backbones": backbones or {},
        "settings": settings or {},
    }
    text = json.dumps(_canonical(content), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _canonical(value):
    """JSON in which 1 and 1.0 are one number and a tuple is a list."""
    if isinstance(value, Mapping):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def differences(a: EvalProtocol, b: EvalProtocol) -> list[str]:
    """One line for each rule in which two protocols differ, with both values; [] where none does.

    A network that only one of them has is one line.
    """
    return [
        f"{rule}: {word(left)} in {a.name}, {word(right)} in {b.name}"
        for rule, left, right in _differing(a, b)
    ]


def _differing(a: EvalProtocol, b: EvalProtocol) -> Iterator[tuple[str, object, object]]:
    """Yields (rule, value in a, value in b)."""
    left, right = flat_rules(a), flat_rules(b)
    names = [*left, *(key for key in right if key not in left)]
    lacking = {slot for slot, _ in (*a.slots, *b.slots) if not (a.slot(slot) and b.slot(slot))}
    for rule in names:
        slot, _, field = rule.partition(".")
        if slot in lacking and field != "name":
            continue
        values = left.get(rule), right.get(rule)
        if _canonical(values[0]) != _canonical(values[1]):
            yield (slot if slot in lacking else rule), *values


def word(value: object) -> str:
    """The value of a rule or setting as readers see it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None or value == "" else str(value)


def markdown_table(names: Sequence[str] = ()) -> str:
    """The table of docs/evaluation.md: a row for each rule in which named protocols differ.

    names: of PROTOCOLS; all without. A dash stands where a protocol has no such network.
    """
    chosen = [named_protocol(name) for name in names] or list(PROTOCOLS.values())
    columns = [flat_rules(protocol) for protocol in chosen]
    rows = [["rule", *(protocol.name for protocol in chosen)]]
    for rule in dict.fromkeys(rule for column in columns for rule in column):
        values = [word(column[rule]) if rule in column else "-" for column in columns]
        # A lacking network is one row, that of its name.
        if len({*values} - {"-"}) > 1 or (rule.endswith(".name") and "-" in values):
            rows.append([rule, *values])
    rows.insert(1, ["---"] * len(rows[0]))
    return "".join(f"| {' | '.join(row).replace('||', ' to ')} |\n" for row in rows)
