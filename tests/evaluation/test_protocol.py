"""Protocols: what the hash depends on, and what `differences` names."""

import dataclasses
import itertools
import json
from pathlib import Path

import pytest

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation import protocol as protocols
from audioldm2_jax.evaluation.protocol import PROTOCOLS, BackboneSpec, EvalProtocol, LoaderRules

AUTHORS = PROTOCOLS["audioldm_eval"]


def _other(value):
    """A value that a rule may take instead."""
    words = {
        "reference||generated": "generated||reference",
        "name": "stem",
        "reference": "generated",
        "first": "mean",
        "input": "output",
        "sinc_hann": "soxr_hq",
        "": "read",
        None: 3,
    }
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, (int, float)) else words.get(value, f"{value}x")


def test_every_rule_changes_the_hash_and_is_one_line():
    base, seen = protocols.protocol_hash(AUTHORS), set()
    for rule in protocols.flat_rules(AUTHORS):
        changed = _change(AUTHORS, rule.split("."))
        seen.add(protocols.protocol_hash(changed))
        (line,) = protocols.differences(AUTHORS, changed)
        assert line.startswith(f"{rule}: ")
    assert base not in seen
    assert len(seen) == len(protocols.flat_rules(AUTHORS))


def _change(value, path):
    """A copy of a protocol with the rule at `path` changed."""
    field, *rest = path
    if isinstance(value, EvalProtocol) and rest:
        return value.with_slot(field, _change(value.slot(field), rest))
    part = getattr(value, field)
    if field == "max_seconds":  # not below min_seconds
        return dataclasses.replace(value, max_seconds=99.0)
    return dataclasses.replace(value, **{field: _change(part, rest) if rest else _other(part)})


def test_every_rule_is_executed():
    """A rule that no code reads would be in the hash without a meaning."""
    package = Path(protocols.__file__).parent
    declared = [package / f"{name}.py" for name in ("rules", "published", "protocol")]
    code = "".join(p.read_text() for p in package.rglob("*.py") if p not in declared)
    for kind in (EvalProtocol, BackboneSpec, LoaderRules):
        for field in dataclasses.fields(kind):
            if field.name not in ("slots", "source"):  # one by `slot()`; the other is a reference
                assert f".{field.name}" in code, f"nothing reads {kind.__name__}.{field.name}"


def test_equal_rules_under_other_names_are_comparable():
    copy = dataclasses.replace(AUTHORS, name="ours", source="ours", limit=None)
    assert protocols.protocol_hash(copy) == protocols.protocol_hash(AUTHORS)
    assert protocols.differences(copy, AUTHORS) == []


def test_hash_depends_on_weights_and_settings_but_not_on_how_numbers_are_written():
    hashes = {
        protocols.protocol_hash(AUTHORS, {"panns": "aa"}),
        protocols.protocol_hash(AUTHORS, {"panns": "ab"}),
        protocols.protocol_hash(AUTHORS, {"panns": "ab"}, {"clips": 964}),
    }
    assert len(hashes) == 3
    assert protocols.protocol_hash(AUTHORS, settings={"guidance": 3, "n": (1, 2)}) == (
        protocols.protocol_hash(AUTHORS, settings=json.loads('{"n": [1, 2], "guidance": 3.0}'))
    )


def test_differences_of_named_protocols():
    for a, b in itertools.combinations(PROTOCOLS.values(), 2):
        lines, back = protocols.differences(a, b), protocols.differences(b, a)
        assert lines and len(lines) == len(back)
        assert all(a.name in line and b.name in line for line in lines)
    lines = protocols.differences(AUTHORS, PROTOCOLS["stable-audio-metrics"])
    assert "fd: none in audioldm_eval, openl3 in stable-audio-metrics" in lines
    assert any(line.startswith("kl_direction: reference||generated in audio") for line in lines)


def test_absent_metrics_have_a_reason():
    stable, musicnn = PROTOCOLS["stable-audio-metrics"], PROTOCOLS["musicnn"]
    assert "OpenL3" in stable.absence("FD") and "PaSST" in stable.absence("KL")
    assert "no network for FAD" in stable.absence("FAD")
    assert "no network for CLAP" in musicnn.absence("CLAP")
    assert stable.absence("CLAP") == musicnn.absence("FD") == ""
    assert AUTHORS.backbone_for("FD") == AUTHORS.slot("classifier")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LoaderRules(channels="left"), "channels 'left': choose one of first mean"),
        (lambda: LoaderRules(resampler="fast"), "resampler 'fast'"),
        (lambda: LoaderRules(min_seconds=2.0, max_seconds=1.0), "max_seconds 1.0 is below"),
        (lambda: dataclasses.replace(AUTHORS, pairing="order"), "pairing 'order'"),
        (lambda: dataclasses.replace(AUTHORS, kad_bandwidth="both"), "kad_bandwidth 'both'"),
        (lambda: dataclasses.replace(AUTHORS, limit=0), "limit 0"),
        (lambda: protocols.named_protocol("fad"), "no protocol 'fad'; choose one of audioldm_eval"),
    ],
)
def test_bad_rules(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_published_facts():
    """Rules that decide the literature's figures, as the specification states them."""
    assert AUTHORS.slot("fad") == BackboneSpec(
        "vggish", 16000, "vggish-10086976.pth", LoaderRules("first", True, min_seconds=2.0)
    )
    assert PROTOCOLS["audioldm_eval_32k"].slot("classifier").loader.min_seconds == 1.0
    assert PROTOCOLS["stable-audio-metrics"].kl_direction == "generated||reference"
    assert {p.kl_direction for n, p in PROTOCOLS.items() if n != "stable-audio-metrics"} == {
        "reference||generated"
    }


def test_page_has_the_table_of_differences():
    page = Path(__file__).parents[2] / "docs" / "evaluation.md"
    table = protocols.markdown_table()
    assert table in page.read_text(encoding="utf-8"), f"docs/evaluation.md needs:\n{table}"
