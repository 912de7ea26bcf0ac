"""Names of metrics and groups, and what a group leaves out."""

import pytest

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.kinds import GROUPS, KINDS, wanted
from audioldm2_jax.evaluation.protocol import METRIC_SLOTS
from audioldm2_jax.evaluation.results import METRICS


def test_groups_and_names_give_metrics_in_the_order_of_tables():
    assert wanted("all").keys == tuple(METRICS)
    assert wanted("kl, fad ,FD").keys == ("FD", "FAD", "KL")
    both = wanted(["speech", "KL"])
    assert both.by_name == {"KL"} and set(both.keys) == {"KL", *GROUPS["speech"]}


@pytest.mark.parametrize(
    "names, message", [("FID", "did you mean"), ("zzzzzz", "choose of FD"), (" , ", "at least one")]
)
def test_other_names_are_refused_with_advice(names, message):
    with pytest.raises(InputError, match=message):
        wanted(names)


def test_a_metric_of_speech_or_music_is_computed_where_it_makes_sense():
    assert "by name" in wanted("all").unfit("DNSMOS_SIG", speech=False)
    assert wanted("all").unfit("DNSMOS_SIG", speech=True) == ""
    assert wanted("all,speech").unfit("DNSMOS_SIG", speech=False) == ""
    assert wanted("all,note_F1").unfit("note_F1", speech=False) == ""
    assert "music" in wanted("all").unfit("note_F1", speech=True)


def test_networks_serve_the_metrics_that_protocols_name():
    assert {metric for metric, kind in KINDS.items() if kind.backbone} == set(METRIC_SLOTS)
