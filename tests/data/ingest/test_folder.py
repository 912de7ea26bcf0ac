"""A corpus' folder as it may be: links, odd names, archives that lead elsewhere, special files."""

import io
import json
import os
import socket
import stat
import tarfile
import unicodedata
import zipfile

import pytest

from audioldm2_jax.cli.main import main
from audioldm2_jax.corpora import archives
from audioldm2_jax.corpora.archives import read, sound, write
from audioldm2_jax.data.ingest import archives as unpacking
from audioldm2_jax.data.ingest import file_ref


def prepare(*arguments):
    return main(["prepare", *map(str, arguments), "--workers", "1", "-q"])


def report(corpus) -> dict[str, str]:
    """Reasons by name; of a name that is noted and skipped, why it is skipped."""
    lines = map(json.loads, (corpus / "skipped.jsonl").read_text().splitlines())
    return {line["name"]: line["reason"] for line in reversed(list(lines))}


@pytest.fixture
def folder(tmp_path):
    """One clip that can be used, and a folder elsewhere."""
    write(tmp_path / "in", {"a.wav": sound(1)})
    write(tmp_path / "elsewhere", {"b.wav": sound(2), "deep/c.wav": sound(3), "b.txt": b"secret"})
    return tmp_path / "in"


LINK = "link; --follow_links reads what it leads to"


def test_links_are_left_out_by_name_or_followed(folder, tmp_path):
    """Files and folders, inside and outside, in a circle, and leading nowhere."""
    elsewhere = tmp_path / "elsewhere"
    links = {
        "file.wav": elsewhere / "b.wav",
        "folder": elsewhere,
        "inner.wav": folder / "a.wav",
        "circle": folder,
        "nowhere.wav": tmp_path / "gone.wav",
        "a.txt": elsewhere / "b.txt",
    }
    for name, target in links.items():
        (folder / name).symlink_to(target)
    (elsewhere / "back").symlink_to(folder)
    assert prepare(folder, tmp_path / "plain") == 0
    (clip,) = read(tmp_path / "plain", "train").values()
    assert clip["id"] == "a.wav" and clip["captions"] == []
    reported = report(tmp_path / "plain")
    assert {name: reported[name] for name in links} == dict.fromkeys(links, LINK)
    assert prepare(folder, tmp_path / "followed", "--follow_links") == 0
    clips = read(tmp_path / "followed", "train")
    assert set(clips) == {
        "a.wav",
        "file.wav",
        "folder/b.wav",
        "folder/deep/c.wav",
        "inner.wav",
    }
    assert clips["a.wav"]["captions"] == ["secret"]
    reported = report(tmp_path / "followed")
    assert reported["circle/"] == reported["folder/back/"] == "link to a folder above it"
    assert "broken link" in reported["nowhere.wav"]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json"])
def test_tables_read_nothing_outside(folder, tmp_path, kind):
    """Absolute paths, paths upwards, links; unless they are allowed."""
    elsewhere = tmp_path / "elsewhere"
    names = ["a.wav", str(elsewhere / "b.wav"), "../elsewhere/deep/c.wav", "/etc/hostname"]
    if kind == "csv":
        text = "file,caption\n" + "".join(f"{name},x\n" for name in names)
    else:
        rows = [{"file": name, "caption": "x"} for name in names]
        text = json.dumps(rows) if kind == "json" else "\n".join(map(json.dumps, rows))
    write(folder, {f"t.{kind}": text.encode()})
    assert prepare(folder, tmp_path / "plain") == 0
    assert set(read(tmp_path / "plain", "train")) == {"a.wav"}
    reported = report(tmp_path / "plain")
    for name in names[1:3]:
        assert reported[name] == "outside the folder; --allow_outside reads it"
    assert prepare(folder, tmp_path / "allowed", "--allow_outside") == 0
    clips = read(tmp_path / "allowed", "train")
    assert set(clips) == set(names[:3])
    assert clips[names[1]]["audio"] == sound(2) and clips[names[2]]["audio"] == sound(3)


def test_paths_within_the_folder(tmp_path):
    """Upwards and down again, absolute, of another machine, in backslashes and other forms."""
    folder = tmp_path / "in"
    nfd = unicodedata.normalize("NFD", "Öl.wav")
    names = ["x/a.wav", "x/b.wav", "c.wav", "d.wav", "deep/er/e.wav", nfd]
    write(folder, {name: sound(i) for i, name in enumerate(names)})
    paths = [
        "x/../x/a.wav",
        str(folder / "x" / "b.wav"),
        "/old/disk/c.wav",
        "./d.wav",
        "deep\\er\\e.wav",
        "Öl.wav",
    ]
    rows = "".join(f"{path},{i}\n" for i, path in enumerate(paths))
    write(folder, {"t.csv": f"file,caption\n{rows}".encode()})
    assert prepare(folder, tmp_path / "out") == 0
    clips = read(tmp_path / "out", "train")
    assert {clip["captions"][0]: clip["audio"] for clip in clips.values()} == {
        str(i): sound(i) for i in range(6)
    }


@pytest.mark.parametrize(
    "named, there",
    [
        ("a.wav", "a.WAV"),
        ("a.WAV", "a.wav"),
        ("A.wav", "a.wav"),
        ("x/a.wav", "x/a.Wav"),
        ("X/CLIP.WAV", "x/clip.wav"),
        ("/old/a.wav", "sub/a.WAV"),
        ("a", "a.WAV"),
    ],
)
def test_names_in_another_case(tmp_path, named, there):
    write(tmp_path / "in", {there: sound(1), "t.csv": f"file,caption\n{named},one\n".encode()})
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    (clip,) = read(tmp_path / "out", "train").values()
    assert clip["captions"] == ["one"] and clip["id"] == there


def test_ambiguous_case_is_named(tmp_path):
    write(tmp_path / "in", {"a.WAV": sound(1), "a.Wav": sound(2), "b.wav": sound(3)})
    write(tmp_path / "in", {"t.csv": b"file,caption\na.wav,one\na.WAV,two\nb.wav,three\n"})
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    clips = read(tmp_path / "out", "train")
    assert {c["captions"][0] for c in clips.values()} == {"two", "three"}
    assert report(tmp_path / "out")["a.wav"] == "several files have that name; give the path"


def test_texts_beside_in_any_case(tmp_path):
    write(tmp_path / "in", {"a.WAV": sound(1), "a.TXT": b"one", "b.wav": sound(2), "b.Txt": b"two"})
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    assert {c["captions"][0] for c in read(tmp_path / "out", "train").values()} == {"one", "two"}


@pytest.mark.parametrize(
    "text, captions",
    [
        (b"\xef\xbb\xbfA dog", ["A dog"]),
        ("one\u2028still one\x0b\x85\ntwo\r\nthree\rfour".encode(), None),
        (b"caf\xe9", "its .txt is not UTF-8; save it as UTF-8"),
        ("A dog".encode("utf-16"), "its .txt is not UTF-8; save it as UTF-8"),
        ("A dog".encode("utf-16-le"), "its .txt holds a NUL; save it as UTF-8 text"),
        (b"A dog\0", "its .txt holds a NUL; save it as UTF-8 text"),
        (b"x" * (1 << 21), "its .txt: larger than 1 MB"),
    ],
    ids="bom lines latin utf16 utf16le nul huge".split(),
)
def test_captions_beside(tmp_path, text, captions):
    """One bad text costs its own clip."""
    write(tmp_path / "in", {"a.wav": sound(1), "a.txt": text, "b.wav": sound(2), "b.txt": b"ok"})
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    clips = read(tmp_path / "out", "train")
    if isinstance(captions, str):
        assert set(clips) == {"b.wav"} and report(tmp_path / "out")["a.wav"] == captions
    elif captions is None:
        lines = clips["a.wav"]["captions"]
        assert len(lines) == 4 and lines[0].startswith("one") and "still one" in lines[0]
    else:
        assert clips["a.wav"]["captions"] == captions


@pytest.mark.parametrize("content", [b"{", b"[1]", b"3", b"\xff", b"[" * 100000, b'{"a": 1}, {}'])
def test_json_beside(tmp_path, content):
    write(tmp_path / "in", {"a.wav": sound(1), "a.json": content, "b.wav": sound(2)})
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    assert set(read(tmp_path / "out", "train")) == {"b.wav"}
    assert "its .json" in report(tmp_path / "out")["a.wav"]


def test_names_of_any_bytes(tmp_path, capsys):
    """Not UTF-8, with line breaks and escapes: kept, and printed harmlessly."""
    folder = tmp_path / "in"
    write(folder, {"ok.wav": sound(0)})
    names = [b"caf\xe9.wav", b"\xff\xfe.wav", b"new\nline.wav", b"\x1b[31mred.wav", b"%s {0}.wav"]
    for i, name in enumerate(names):
        (folder / os.fsdecode(name)).write_bytes(sound(i + 1))
        (folder / os.fsdecode(name[:-4] + b".txt")).write_bytes(b"caption %d" % i)
    (folder / os.fsdecode(b"bad\xe9\x1b.wav")).write_bytes(b"no sound")
    (folder / os.fsdecode(b"d\xe9ir")).mkdir()
    (folder / os.fsdecode(b"d\xe9ir/x.wav")).write_bytes(sound(9))
    assert prepare(folder, tmp_path / "out") == 0
    clips = read(tmp_path / "out", "train")
    assert len(clips) == len(names) + 2
    texts = {c["captions"][0] for c in clips.values() if c["captions"]}
    assert texts == {f"caption {i}" for i in range(len(names))}
    output = capsys.readouterr()
    assert "\x1b" not in output.out + output.err and "no audio" in output.err
    (tmp_path / "out" / "skipped.jsonl").read_text(encoding="utf-8")


@pytest.mark.parametrize("field", ["caption", "labels", "transcript", "notes", "file"])
def test_characters_that_are_none(tmp_path, field):
    """Lone surrogates and NUL in a table's values."""
    rows = [{"file": "a.wav", "caption": "x"}, {"file": "b.wav", "caption": "y"}]
    rows[0][field] = "lone \ud800 and \0 here"
    write(tmp_path / "in", {"a.wav": sound(1), "b.wav": sound(2), "t.json": b""})
    (tmp_path / "in" / "t.json").write_text(json.dumps(rows))
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    clips = read(tmp_path / "out", "train")
    if field == "file":
        assert set(clips) == {"b.wav"}
        return
    assert set(clips) == {"a.wav", "b.wav"}
    if field != "notes":
        assert report(tmp_path / "out")["a.wav"].startswith("characters that are none")


def test_special_files(folder, tmp_path):
    os.mkfifo(folder / "pipe.wav")
    os.mkfifo(folder / "a.txt")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "s.wav"))
        (folder / "d.wav").mkdir()
        (folder / "d.wav" / "inner.wav").write_bytes(sound(5))
        assert prepare(folder, tmp_path / "out") == 0
    assert set(read(tmp_path / "out", "train")) == {"a.wav", "d.wav/inner.wav"}
    reported = report(tmp_path / "out")
    for name in ("pipe.wav", "s.wav", "a.txt"):
        assert reported[name].startswith("no ordinary file")
    (folder / "t.csv").write_text("file,caption\na.wav,x\npipe.wav,y\nd.wav,z\n/dev/zero,w\n")
    assert prepare(folder, tmp_path / "two", "--allow_outside") == 0
    assert set(read(tmp_path / "two", "train")) == {"a.wav"}


def test_what_cannot_be_listed_or_read(folder, tmp_path, monkeypatch):
    """As another user's files are; the tests may run as root, who reads all."""
    write(folder, {"closed/b.wav": sound(2), "locked.wav": sound(3)})
    scan, status = os.scandir, os.stat

    def scandir(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    def refused(path, **settings):
        if str(path).endswith("locked.wav"):
            raise PermissionError(13, "Permission denied")
        return status(path, **settings)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(file_ref.os, "stat", refused)
    assert prepare(folder, tmp_path / "out") == 0
    monkeypatch.undo()
    reported = report(tmp_path / "out")
    assert reported["closed/"] == "cannot be listed (Permission denied)"
    assert reported["locked.wav"] == "cannot be read (PermissionError)"
    assert set(read(tmp_path / "out", "train")) == {"a.wav"}


def test_files_too_large_are_not_read(folder, tmp_path):
    """A sparse file of 1 TB is no reason to take memory."""
    with open(folder / "vast.wav", "wb") as file:
        file.write(sound(1))
        file.truncate(1 << 40)
    with open(folder / "vast.txt", "wb") as file:
        file.truncate(1 << 40)
    assert prepare(folder, tmp_path / "out") == 0
    assert report(tmp_path / "out")["vast.wav"].endswith("MB")


def hostile_tar(path, mode):
    def member(name, kind=tarfile.REGTYPE, data=b"", link=""):
        info = tarfile.TarInfo(name)
        info.type, info.size, info.linkname = kind, len(data), link
        archive.addfile(info, io.BytesIO(data))

    with tarfile.open(path, mode) as archive:
        member("good.wav", data=sound(7))
        member("../up.wav", data=sound(8))
        member("/abs.wav", data=sound(8))
        member("a/../../up2.wav", data=sound(8))
        member("sym.wav", tarfile.SYMTYPE, link="/etc/passwd")
        member("dir", tarfile.SYMTYPE, link="/etc")
        member("dir/x.wav", data=sound(8))
        member("hard.wav", tarfile.LNKTYPE, link="/etc/passwd")
        member("null.wav", tarfile.CHRTYPE)
        member("pipe.wav", tarfile.FIFOTYPE)


def hostile_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("good.wav", "../up.wav", "/abs.wav", "a/../../up2.wav", "C:/x.wav"):
            archive.writestr(name, sound(7))
        link = zipfile.ZipInfo("good.txt")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("__MACOSX/._good.wav", b"x")


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.tar.bz2", "x.tar.xz", "x.zip", "x.7z"])
def test_archives_that_lead_elsewhere(folder, tmp_path, name):
    path = folder / name
    if name.endswith("zip"):
        hostile_zip(path)
    elif name.endswith("7z"):
        archives.write_7z(path, {"good.wav": sound(7)})
    else:
        hostile_tar(path, "w:" + name[6:])
    assert prepare(folder, tmp_path / "out") == 0
    clips = read(tmp_path / "out", "train")
    assert {"a.wav", f"{name}/good.wav"} <= set(clips)
    assert not any("up" in clip or "abs" in clip for clip in clips)
    assert clips[f"{name}/good.wav"]["captions"] == []
    for stray in (tmp_path / "up.wav", folder / "up.wav", tmp_path / "up2.wav"):
        assert not stray.exists()
    if name.endswith("7z"):
        return
    reasons = list(report(tmp_path / "out").values())
    assert reasons.count("its name leads outside the archive") >= 3
    assert "link in an archive" in reasons


def test_archives_that_would_fill_the_disk(folder, tmp_path, monkeypatch, capsys):
    archives.write_tar(folder / "big.tar.gz", {"x.wav": bytes(10**6)}, "w:gz")
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(unpacking.shutil, "disk_usage", lambda path: usage)
    assert prepare(folder, tmp_path / "out") == 2
    stderr = capsys.readouterr().err
    assert "big.tar.gz: unpacked it takes" in stderr and stderr.count("\n") == 1
    assert not list((tmp_path / ".out-unpacked").iterdir())


def test_archives_of_one_name(tmp_path):
    """Each is unpacked for itself."""
    for i, folder in enumerate("xy"):
        archives.write_tar(tmp_path / "in" / folder / "s.tgz", {f"{i}.wav": sound(i)}, "w:gz")
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    assert set(read(tmp_path / "out", "train")) == {"x/s.tgz/0.wav", "y/s.tgz/1.wav"}


def test_a_tar_whose_header_states_gigabytes(folder, tmp_path):
    """A long name of 8 GB is not read into memory."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 33
    for name in ("x.tar", "x.tgz"):
        data = info.tobuf(tarfile.GNU_FORMAT) + bytes(10240)
        if name == "x.tgz":
            import gzip

            data = gzip.compress(data)
        (folder / name).write_bytes(data)
    assert prepare(folder, tmp_path / "out") == 0
    assert "damaged archive" in report(tmp_path / "out")["x.tar"]
    assert "damaged archive" in report(tmp_path / "out")["x.tgz"]


def test_a_zip_that_grows_without_end(folder, tmp_path):
    """Silence of 80 MB in 80 kB."""
    with zipfile.ZipFile(folder / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("b.wav", "w") as file:
            for _ in range(80):
                file.write(bytes(10**6))
    assert prepare(folder, tmp_path / "out") == 0
    assert "grows more than" in report(tmp_path / "out")["x.zip/b.wav"]


def test_a_finished_corpus_says_so(folder, tmp_path, capsys):
    """Another transcript is another corpus; changed files need a new one."""
    write(folder, {"t.csv": b"file,transcript\na.wav,one\n"})
    arguments = ["prepare", str(folder), str(tmp_path / "out"), "--workers", "1"]
    assert main(arguments) == 0 and "finished already" not in capsys.readouterr().err
    assert main(arguments) == 0 and "finished already" in capsys.readouterr().err
    write(folder, {"t.csv": b"file,transcript\na.wav,two\n"})
    assert main(arguments) == 2 and "made otherwise (plan" in capsys.readouterr().err
