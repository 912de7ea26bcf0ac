"""A result survives its file; other files are refused by one line."""

import json

import pytest

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.protocol import PROTOCOLS
from audioldm2_jax.evaluation.results import EvalResult, Figure


def result(**changes):
    given = dict(
        generated="ours",
        reference="theirs",
        protocol=PROTOCOLS["audioldm_eval"],
        hash="0123456789ab",
        backbones={"panns": "ab" * 32},
        figures=[Figure("FD", 12.5, 11.0, 14.0, 964), Figure("CLAP", None, note="no weights")],
        per_class={"dog": [Figure("KL", 1.5, n=7)]},
        clips=[{"name": "a.wav", "KL": 1.25}],
        ladders={"FD": [[10, 40.0], [20, 30.0]]},
    )
    return EvalResult(**given | changes)


def test_a_result_survives_its_file(tmp_path):
    written = result()
    written.save(tmp_path / "result.json")
    assert EvalResult.load(tmp_path / "result.json") == written
    assert written.figure("FD").high == 14.0
    assert written.figure("IS").value is None and written.figure("IS").note == "not asked for"


def test_numbers_that_are_not_finite_are_absent_in_the_file(tmp_path):
    figures = [Figure("PSNR", float("inf"), n=2), Figure("FD", float("nan"), n=2)]
    result(figures=figures, clips=[{"name": "a", "KL": float("nan")}]).save(tmp_path / "r.json")
    content = (tmp_path / "r.json").read_text()
    assert "NaN" not in content and "Infinity" not in content
    assert [f.value for f in EvalResult.load(tmp_path / "r.json").figures] == [None, None]


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c: c.pop("figures"), "not a result of"),
        (lambda c: c.pop("format"), "not a result of"),
        (lambda c: c.update(format=99), "later version"),
        (lambda c: c.update(figures=[{"name": "FD"}]), "not a whole result"),
        (lambda c: c.update(figures=3), "not a whole result"),
        (lambda c: c.update(per_class=[]), "not a whole result"),
        (lambda c: c.update(protocol={"slots": 1}), "not a whole result"),
        (lambda c: c["protocol"].pop("name"), "not a whole result"),
        (lambda c: c.update(more=1), "not a whole result"),
    ],
)
def test_other_files_are_refused(tmp_path, change, message):
    path = tmp_path / "result.json"
    result().save(path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        EvalResult.load(path)
