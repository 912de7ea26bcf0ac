"""Pairs of two sets of clips, of which some cannot be used."""

import dataclasses

import numpy as np
import pytest
import soundfile

from audioldm2_jax.evaluation.clips import open_clips, pair
from audioldm2_jax.evaluation.protocol import PROTOCOLS
from tests.evaluation.clip_folders import write_clips

AUTHORS = PROTOCOLS["audioldm_eval"]


@pytest.fixture
def two_sets(tmp_path):
    """ours/ and theirs/, each of clip00.wav to clip11.wav."""
    return [write_clips(tmp_path / name, 12, seed=i) for i, name in enumerate(("ours", "theirs"))]


def _inspected(*folders, protocol=AUTHORS):
    sets = [open_clips(folder, protocol) for folder in folders]
    for clips in sets:
        clips.inspect_all()
    return sets


def test_a_pair_of_an_unusable_clip_is_left_out_and_the_others_stay(two_sets):
    """Of 12 clips one is 8 %: the share of pairs is that of the names, whatever their sounds."""
    ours, theirs = two_sets
    soundfile.write(ours / "clip01.wav", np.full(40000, np.nan), 16000, subtype="FLOAT")
    ours, theirs = _inspected(ours, theirs)
    for _ in range(2):  # counts stay
        pairs = pair(ours, theirs, AUTHORS)
        names = [clip.name for clip in ours.clips]
        assert [names[i] for i in pairs.generated] == [n for n in names if n != "clip01.wav"]
        assert list(pairs.generated) == list(pairs.reference)
        assert pairs.is_paired and len(pairs) == 11
        assert [names[i] for i in pairs.unmatched_reference] == ["clip01.wav"]
        assert theirs.problems.counts["unmatched"] == 1
        assert theirs.problems.examples["unmatched"] == [
            ("clip01.wav", "its partner cannot be used")
        ]
        assert ours.problems.counts["unmatched"] == 0
    (line,) = pairs.lines
    assert line.startswith(
        "1 of 12 pairs is left out, for unusable clips (generated clip01.wav: broken"
    )
    assert ours.warnings() == [f"{ours.name}: 1 clip is left out, 11 are read"]


def test_unusable_clips_of_both_sets_are_named_and_none_left_is_unpaired(two_sets):
    ours, theirs = two_sets
    (ours / "clip01.wav").write_text("no sound")
    (theirs / "clip02.wav").write_text("no sound")
    pairs = pair(*_inspected(ours, theirs), AUTHORS)
    assert pairs.is_paired and len(pairs) == 10
    assert pairs.lines[0].startswith("2 of 12 pairs are left out")
    assert "generated clip01.wav: no audio" in pairs.lines[0]
    assert "reference clip02.wav: no audio" in pairs.lines[0]
    for number in range(12):
        folder = (ours, theirs)[number % 2]
        (folder / f"clip{number:02}.wav").write_text("no sound")
    pairs = pair(*_inspected(ours, theirs), AUTHORS)
    assert not pairs.is_paired and len(pairs) == 0
    assert pairs.lines[0].startswith("12 of 12 pairs are left out")


def test_an_unusable_clip_without_a_partner_counts_for_nothing(two_sets):
    ours, theirs = two_sets
    (ours / "notes.wav").write_text("no sound")
    pairs = pair(*_inspected(ours, theirs), AUTHORS)
    assert pairs.is_paired and len(pairs) == 12 and pairs.lines == []
    # A name that only an unusable clip makes ambiguous is not.
    (ours / "clip03.flac").write_text("no sound")
    stem = dataclasses.replace(AUTHORS, pairing="stem")
    pairs = pair(*_inspected(ours, theirs, protocol=stem), stem)
    assert pairs.is_paired and len(pairs) == 12 and pairs.lines == []


def test_an_unusable_clip_keeps_its_partner_from_others(two_sets):
    ours, theirs = two_sets
    (ours / "clip01.wav").write_text("no sound")
    write_clips(ours / "old", 2, seed=5)
    (ours / "old" / "clip00.wav").unlink()
    ours, theirs = _inspected(ours, theirs)
    pairs = pair(ours, theirs, AUTHORS)
    assert "old/clip01.wav" not in [ours.clips[i].name for i in pairs.generated]


def test_clips_without_a_partner_are_counted(two_sets):
    ours, theirs = two_sets
    (ours / "clip01.wav").unlink()
    ours, theirs = _inspected(ours, theirs)
    pairs = pair(ours, theirs, AUTHORS)
    assert not pairs.is_paired and len(pairs) == 11
    assert theirs.problems.examples["unmatched"] == [("clip01.wav", "")]
    assert (
        "1 of 12 reference clips have no partner (clip01.wav): paired metrics are left out"
        in (pairs.lines[0])
    )
