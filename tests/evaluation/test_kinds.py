"""Names of metrics and groups, and what a group leaves out."""

import pytest

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.kinds import GROUPS, KINDS, select_metrics
from audioldm2_jax.evaluation.protocol import METRIC_SLOTS
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
