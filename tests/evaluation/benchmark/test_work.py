"""Keys of a table's points: all that figures follow from."""

from types import SimpleNamespace

from audioldm2_jax.evaluation.benchmark.references import open_reference
from audioldm2_jax.evaluation.benchmark.run_settings import RunSettings
from audioldm2_jax.evaluation.benchmark.sources import Sources
from audioldm2_jax.evaluation.benchmark.work import Work
from audioldm2_jax.evaluation.kinds import MetricSelection
from audioldm2_jax.evaluation.plan import Plan
from audioldm2_jax.evaluation.protocol import PROTOCOLS
from audioldm2_jax.evaluation.tables import Corpus, Recordings, Row
from tests.evaluation.clip_folders import write_clips


def test_a_judge_is_known_by_its_weights(tmp_path):
    """A point's key changes with the weights of a judge, which keeps its name."""
    corpus = Corpus("esc50", "fold5", "{labels}")
    protocol = PROTOCOLS["musicnn"]
    reference = open_reference(corpus, write_clips(tmp_path / "c", 2, texts=True), protocol)
    row = Row("truth", "recordings", corpus, Recordings())
    keys = []
    for sha256 in ("a", "a", "b"):
        judges = {"DNSMOS_OVRL": SimpleNamespace(name="dnsmos", sha256=lambda h=sha256: h)}
        plan = Plan(
            MetricSelection(("DNSMOS_OVRL",), frozenset(), frozenset()), protocol, judges=judges
        )
        work = Work(plan, ("DNSMOS_OVRL",), Sources(), RunSettings(), tmp_path)
        keys.append(work.key(row, reference, None, "recordings"))
    assert keys[0] == keys[1] != keys[2]
