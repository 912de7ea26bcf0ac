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


def test_comparison_names_each_figure_that_depends_on_the_number_of_clips():
    keys = ("FD", "FAD", "FAD_inf", "IS", "KID", "KAD", "R@1", "mAP@10")
    a = result(figures=[Figure(key, 1.0, n=9) for key in (*keys, "KL")])
    b = result(figures=[Figure(key, 1.0, n=5) for key in (*keys[1:], "KL")])
    assert different(a, b) == ["clips of FAD, FAD_inf, IS, KID, KAD, R@1, mAP@10: 9 and 5"]


def test_comparison_names_each_setting():
    settings = {"reference clips": 12, "reference": "ab" * 32, "texts": None, "seed": 0}
    a = result(settings=settings | {"generation": {"steps": 25, "guidance": 3.5}})
    b = result(
        reference="elsewhere",
        settings={"reference clips": 3, "reference": "cd" * 32, "texts": "ef" * 32, "seed": 1}
        | {"generation": {"steps": 200, "guidance": 3.5}},
    )
    assert different(a, b) == [
        "reference clips: 12 and 3",
        "sounds of the reference: abababababab and cdcdcdcdcdcd",
        "seed of FAD_inf: 0 and 1",
        "generation, steps: 25 and 200",
    ]
    c = result(settings=settings | {"generation": None})
    assert different(c, a) == ["generation: settings are known of the second only"]
    assert different(c, result(reference="a copy", settings=dict(c.settings))) == []
