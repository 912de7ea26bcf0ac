"""Names of metrics and groups, and what a group leaves out."""

import re
from pathlib import Path

import pytest

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.kinds import GROUPS, KINDS, select_metrics, too_few
from audioldm2_jax.evaluation.protocol import METRIC_SLOTS, PROTOCOLS
from audioldm2_jax.evaluation.results import METRICS


def test_groups_and_names_give_metrics_in_the_order_of_tables():
    assert select_metrics("all").keys == tuple(METRICS)
    assert select_metrics("kl, fad ,FD").keys == ("FD", "FAD", "KL")
    both = select_metrics(["speech", "KL"])
    assert both.by_name == {"KL"} and set(both.keys) == {"KL", *GROUPS["speech"]}


@pytest.mark.parametrize(
    "names, message", [("FID", "did you mean"), ("zzzzzz", "choose of FD"), (" , ", "at least one")]
)
def test_other_names_are_refused_with_advice(names, message):
    with pytest.raises(InputError, match=message):
        select_metrics(names)


def test_a_metric_of_speech_or_music_is_computed_where_it_makes_sense():
    assert "by name" in select_metrics("all").unfit("DNSMOS_SIG", speech=False)
    assert select_metrics("all").unfit("DNSMOS_SIG", speech=True) == ""
    assert select_metrics("all,speech").unfit("DNSMOS_SIG", speech=False) == ""
    assert select_metrics("all,note_F1").unfit("note_F1", speech=False) == ""
    assert "music" in select_metrics("all").unfit("note_F1", speech=True)


def test_networks_serve_the_metrics_that_protocols_name():
    assert {metric for metric, kind in KINDS.items() if kind.backbone} == set(METRIC_SLOTS)


def test_few_clips_are_counted_in_words():
    assert too_few(1, 2) == "1 clip in a set; it takes at least 2"
    assert too_few(0, 1) == "0 clips in a set; it takes at least 1"
    assert too_few(5, 6, "captioned clip") == "5 captioned clips in a set; it takes at least 6"


def test_the_documented_least_numbers_of_clips_are_those_of_the_code():
    """One pair has a KL, as it has a PSNR; recall among the k nearest of k clips would be 1."""
    text = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()
    table = text[text.index("| figure | definition | fewest") :].split("\n\n")[0]
    rows = [re.split(r"(?<!\\)\|", line)[1:4] for line in table.splitlines()[2:]]
    least = {}
    for names, _, fewest in rows:
        (word,) = re.findall(r"(k \+ 1|\d+) (?:clip|pair)", fewest)
        for name in names.split(","):
            for k in (1, 5, 10) if "@k" in name else (0,):
                metric = name.strip().replace("@k", f"@{k}")
                least[metric] = k + 1 if word.startswith("k") else int(word)
    assert least.pop("IS") == PROTOCOLS["audioldm_eval"].is_splits
    assert len(least) == 17
    assert least == {metric: KINDS[metric].least for metric in least}
