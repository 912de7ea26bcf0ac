"""Figures as text and CSV; what is not comparable is named."""

import csv
import dataclasses
import io

import pytest

from audioldm2_jax.evaluation.report.tables import (
    comparison_text,
    different,
    figures_csv,
    number,
    result_text,
)
from audioldm2_jax.evaluation.results import Figure
from tests.evaluation.test_results import result


@pytest.mark.parametrize(
    "value, text",
    [
        (None, "-"),
        (0.0, "0"),
        (12.3456, "12.35"),
        (1234.56, "1235"),
        (-0.012345, "-0.01235"),
        (1.5e-9, "1.5e-09"),
        (9.9999e5, "999990"),
        (-1.5e13, "-1.5e+13"),
    ],
)
def test_four_digits(value, text):
    assert number(value) == text


def test_csv_holds_all_figures_and_no_formulas():
    rows = list(csv.DictReader(io.StringIO(figures_csv(result(generated="=cmd()")))))
    assert [(r["class"], r["metric"], r["value"]) for r in rows] == [
        ("", "FD", "12.5"),
        ("", "CLAP", ""),
        ("dog", "KL", "1.5"),
    ]
    assert {r["generated"] for r in rows} == {"'=cmd()"} and rows[0]["hash"] == "0123456789ab"


def test_the_text_names_protocol_interval_reason_and_warnings():
    text = result_text(result(warnings=["3 of 9 clips are silent"]))
    assert "protocol audioldm_eval, hash 0123456789ab" in text
    assert "11.00 .. 14.00" in text and "no weights" in text
    assert text.endswith("warning: 3 of 9 clips are silent")


def test_comparison_names_what_differs():
    a = result()
    other = dataclasses.replace(a.protocol, kl_epsilon=1e-3)
    b = result(
        protocol=other,
        backbones={"panns": "cd" * 32},
        figures=[Figure("FD", 9.5, n=500), Figure("IS", 3.0, n=500)],
    )
    lines = different(a, b)
    assert any("0.001" in line and "1e-06" in line for line in lines)
    assert any(line.startswith("weights of panns: abab") for line in lines)
    assert any("964 and 500" in line for line in lines)
    text = comparison_text([a, b])
    assert "not comparable" in text and "12.50 (11.00 .. 14.00)" in text and "9.500" in text
    assert different(a, a) == [] and "not comparable" not in comparison_text([a, result()])
