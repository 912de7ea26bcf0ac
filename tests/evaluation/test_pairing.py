"""Pairing: by name or stem, with or without folders, and the 99 % rule."""

import dataclasses

from audioldm2_jax.evaluation.pairing import pair_names
from audioldm2_jax.evaluation.protocol import PROTOCOLS

AUTHORS = PROTOCOLS["audioldm_eval"]
STEM = dataclasses.replace(AUTHORS, pairing="stem")


def _pairs(generated, reference, protocol=AUTHORS):
    pairs = pair_names(generated, reference, protocol)
    matched = [(generated[i], reference[j]) for i, j in zip(pairs.generated, pairs.reference)]
    rest = ([generated[i] for i in pairs.unmatched_generated], len(pairs.unmatched_reference))
    return matched, rest, pairs


def test_equal_names_pair_in_order_without_a_line():
    matched, rest, pairs = _pairs(["b.wav", "a.wav"], ["a.wav", "b.wav"])
    assert matched == [("a.wav", "a.wav"), ("b.wav", "b.wav")]
    assert rest == ([], 0) and pairs.is_paired and pairs.lines == []


def test_folders_are_ignored_where_that_pairs_more():
    matched, *_ = _pairs(["x/a.wav", "x/b.wav"], ["a.wav", "y/b.wav"])
    assert matched == [("x/a.wav", "a.wav"), ("x/b.wav", "y/b.wav")]
    # With them, equal file names of different folders stay apart.
    names = ["dog/1.wav", "cat/1.wav"]
    matched, *_ = _pairs(names, names)
    assert sorted(matched) == [("cat/1.wav", "cat/1.wav"), ("dog/1.wav", "dog/1.wav")]


def test_ambiguous_names_pair_nothing():
    matched, rest, pairs = _pairs(["a.wav", "b.wav"], ["x/a.wav", "y/a.wav", "x/b.wav"])
    assert matched == [("b.wav", "x/b.wav")]
    assert rest == (["a.wav"], 2) and not pairs.is_paired
    matched, *_ = _pairs(["a.wav", "a.flac"], ["a.ogg"], STEM)
    assert matched == []


def test_stems_are_suggested_where_suffixes_differ():
    ours, theirs = [f"{i}.wav" for i in range(5)], [f"{i}.flac" for i in range(5)]
    matched, _, pairs = _pairs(ours, theirs)
    assert matched == [] and not pairs.is_paired
    assert "names differ by their suffix: pairing by stem would pair 5 instead of 0" in pairs.lines
    matched, _, pairs = _pairs(ours, theirs, STEM)
    assert len(matched) == 5 and pairs.is_paired and pairs.lines == []
    # A dot inside a stem is no suffix of its own.
    assert _pairs(["a.b.wav"], ["a.b.flac"], STEM)[0] == [("a.b.wav", "a.b.flac")]


def test_more_than_99_percent_of_both_sets_must_pair():
    names = [f"{i}.wav" for i in range(200)]
    assert pair_names(names[:199], names, AUTHORS).is_paired
    assert not pair_names(names[:198], names, AUTHORS).is_paired  # exactly 99 %
    assert not pair_names(names, names[:150], AUTHORS).is_paired
    some = PROTOCOLS["stable-audio-metrics"]
    assert pair_names(names[:3], names, some).is_paired
    assert not pair_names(["x.wav"], names, some).is_paired


def test_lines_count_and_name_what_has_no_partner():
    names = [f"{i:03}.wav" for i in range(200)]
    pairs = pair_names([*names, "extra.wav"], names, AUTHORS)
    assert pairs.is_paired
    assert pairs.lines == ["1 of 201 generated clips have no partner (extra.wav)"]
    pairs = pair_names(names[:100], names, AUTHORS)
    assert pairs.lines == [
        "100 of 200 reference clips have no partner (100.wav, 101.wav, 102.wav, ...): paired "
        "metrics are left out, they need pairs for more than 99% of both sets"
    ]


def test_any_text_is_a_name():
    names = ["", ".", "..", "a/..", ".a", "a.", "x/.b.wav", "\udc80.wav", "a/b/", "a\0b"]
    for protocol in (AUTHORS, STEM):
        matched, rest, _ = _pairs(names, list(reversed(names)), protocol)
        assert [ours for ours, _ in matched] == [theirs for _, theirs in matched]
        assert len(matched) == len(names) and rest == ([], 0)
