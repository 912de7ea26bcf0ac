"""What a table's path means: never another file than the one it names, at a bounded price."""

import gc
import time

import pytest

from audioldm2_jax.data.ingest import file_lookup as finding
from audioldm2_jax.data.ingest.file_index import AGAIN, HIDDEN, LINK, FileIndex
from audioldm2_jax.data.ingest.file_lookup import find_file
from audioldm2_jax.data.ingest.report import Report


def index_of(tmp_path, files, links=(), **settings):
    folder = tmp_path / "in"
    for name in files:
        path = tmp_path / name if name.startswith("out/") else folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for name, target in dict(links).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(target)
    return FileIndex(folder, tmp_path / "scratch", Report(), **settings)


LEFT_OUT = {  # name of the case -> (files, links, path in the table, reason)
    "link": (["sub/a.wav", "out/o.wav"], {"a.wav": "../out/o.wav"}, "a.wav", LINK),
    "link upwards": (["sub/a.wav", "out/o.wav"], {"a.wav": "../out/o.wav"}, "x/../a.wav", LINK),
    "linked folder": (["sub/o.wav", "out/o.wav"], {"clips": "../out"}, "clips/o.wav", LINK),
    "hidden": (["sub/a.wav", ".h/a.wav"], {}, ".h/a.wav", HIDDEN),
    "partial": (["sub/a.wav.part", "a.wav", "x.part/a.wav"], {}, "x.part/a.wav", HIDDEN),
    "damaged": (["sub/a.wav", "x.zip"], {}, "x.zip/a.wav", "damaged archive"),
}


@pytest.mark.parametrize("allow", [False, True])
@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("case", LEFT_OUT)
def test_what_was_left_out_is_no_other_file(tmp_path, case, absolute, allow):
    files, links, path, reason = LEFT_OUT[case]
    index = index_of(tmp_path, files, links, allow_outside=allow)
    if absolute:
        path = str(tmp_path / "in" / path)
    match = find_file(index, path, "", tmp_path / "in")
    assert match.file is None and match.reason.startswith(reason), match


def test_a_file_found_by_its_name_alone_is_noted(tmp_path):
    files = ["o.wav", "sub/b.wav", "d/c.wav", "out/o.wav"]
    there = str(tmp_path / "out" / "o.wav")
    strict = index_of(tmp_path, files)
    names = {there: "o.wav", "../out/o.wav": "o.wav", "/old/b.wav": "sub/b.wav", "x/c": "d/c.wav"}
    for path, name in names.items():
        match = find_file(strict, path, "", tmp_path / "in")
        assert (match.name, match.note) == (name, finding.NAME_ALONE)
    for path in ("b.wav", "sub/b.wav", "/sub/b.wav", "b", "sub/b"):
        match = find_file(strict, path)
        assert (match.name, match.note) == ("sub/b.wav", "") and match.file
    loose = index_of(tmp_path, [], allow_outside=True)
    assert find_file(loose, there).file.path == there
    (tmp_path / "way").symlink_to(tmp_path / "in")
    match = find_file(loose, str(tmp_path / "way" / "sub" / "b.wav"))
    assert match.name == "sub/b.wav"


def test_folders_behind_links_are_read_once(tmp_path):
    """Each of 2^40 ways leads to the one file, by a name of its own."""
    folder, links = tmp_path / "in", {}
    for i in range(40):
        links |= {f"d{i}/{way}": f"../d{i + 1}" for way in "ab"}
    (folder / "a").mkdir(parents=True)
    links |= {"0way": "d40", "circle": ".", "a/up": ".."}
    index = index_of(tmp_path, ["d40/z.wav"], links, follow_links=True)
    assert set(index.files) == {"d40/z.wav"}
    ways = ["d0" + "/a/b" * 20, "0way", "circle/circle/d39/b", "a/up/a/up/d40", "d40"]
    for way in ways:
        assert find_file(index, f"{way}/z.wav").name == "d40/z.wav"
    reasons = dict(index.report.skipped)
    assert reasons["0way/"] == AGAIN and reasons["circle/"] == "link to a folder above it"
    assert find_file(index, "circle/no.wav").file is None


@pytest.mark.parametrize("path", ["data/d{}/audio.wav", "D{}/AUDIO.wav", "/x/d{}/audio"])
def test_files_of_one_name_are_found_in_linear_time(tmp_path, path):
    """Four times the files take about four times the time, not sixteen.

    The best of three passes, without the garbage collector: it walks the heap of the whole worker.
    """

    def seconds(count):
        index = index_of(tmp_path / str(count), ["d0/audio.wav", "d0/audio.txt"])
        index.files = {f"d{i}/audio.{k}": None for i in range(count) for k in ("wav", "txt")}
        start = time.process_time()
        for i in range(count):
            find_file(index, path.format(i))
            index.sibling(f"d{i}/audio.wav", ".json")
        return time.process_time() - start

    gc.disable()
    try:
        small, large = (min(seconds(count) for _ in range(3)) for count in (1500, 6000))
    finally:
        gc.enable()
    assert large < 9 * small + 0.1, (small, large)


def test_a_summary_of_many_reasons_is_quick():
    report = Report([(f"{i}", f"reason {i}") for i in range(20000)] + [("x", "reason 7")])
    start = time.process_time()
    assert report.summary()[0] == "skipped 2, reason 7: 7, x"
    assert time.process_time() - start < 2
