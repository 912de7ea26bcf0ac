"""The hash of an evaluation, and what a comparison names: each setting that moves a figure."""

import shutil

import pytest

from audioldm2_jax.evaluation.clips import open_clips
from audioldm2_jax.evaluation.evaluate import evaluate
from audioldm2_jax.evaluation.protocol import PROTOCOLS
from audioldm2_jax.evaluation.report.tables import different
from audioldm2_jax.evaluation.settings import evaluation_settings
from tests.evaluation.clip_folders import write_clips

AUTHORS = PROTOCOLS["audioldm_eval"]
MANIFEST = {"model": "nano", "weights": "ab", "steps": 25, "seed": 0, "device": "cpu"}
MANIFEST |= {"versions": {}, "failed": [], "clips": {}}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    write_clips(root / "ours", 3, seed=1)
    write_clips(root / "theirs", 3, seed=2)
    write_clips(root / "others", 3, seed=3)
    write_clips(root / "more", 5, seed=2)  # the first three are those of `theirs`
    (root / "renamed").mkdir()
    for i in range(3):
        shutil.copy(root / "theirs" / f"clip{i:02}.wav", root / "renamed" / f"{9 - i}.wav")
    return root


def score(folders, reference="theirs", **options):
    options = {"progress": False, "generation": MANIFEST} | options
    sets = folders / "ours", folders / reference
    return evaluate(*sets, AUTHORS, "silent_share", **options)


@pytest.mark.parametrize(
    "options, line",
    [
        ({"reference": "others"}, "sounds of the reference: "),
        ({"reference": "more"}, "reference clips: 3 and 5"),
        ({"seed": 1}, "seed of FAD_inf: 0 and 1"),
        ({"generation": MANIFEST | {"steps": 200}}, "generation, steps: 25 and 200"),
        ({"generation": MANIFEST | {"guidance": 2.5}}, "generation, guidance: none and 2.5"),
        ({"generation": None}, "generation: settings are known of the first only"),
    ],
)
def test_a_setting_changes_the_hash_and_is_a_line(folders, options, line):
    base, other = score(folders), score(folders, **options)
    assert base.hash != other.hash
    assert any(text.startswith(line) for text in different(base, other))


def test_what_moves_no_figure_changes_nothing(folders):
    """Names of the reference, the model under test, and the machine that generated."""
    base, other = score(folders), score(folders, "renamed", generation=MANIFEST | {"model": "xl"})
    assert base.hash == other.hash and different(base, other) == []


def test_texts_count_where_a_figure_depends_on_them(folders):
    sets = [open_clips(folders / name, AUTHORS) for name in ("ours", "theirs")]
    for clips in sets:
        clips.inspect_all()
    texts = [("rain", ""), ("wind", "hello")]
    digests = [
        evaluation_settings(*sets, given, None, 0)["texts"]
        for given in (texts, texts[::-1], [("rain", "hello"), ("wind", "")], None)
    ]
    assert digests[0] == digests[1] != digests[2] and digests[3] is None
