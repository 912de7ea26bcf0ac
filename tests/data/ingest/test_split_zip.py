"""Split zips read as what was zipped; parts that are missing are named."""

import base64
import lzma
import zipfile

import numpy as np
import pytest

from audioldm2_jax.corpora.archives import write_split
from audioldm2_jax.data.ingest import split_zip
from audioldm2_jax.data.ingest.file_index import FileIndex
from audioldm2_jax.data.ingest.file_ref import FileRef, Unreadable
from audioldm2_jax.data.ingest.report import Report

FILES = {f"a/{i}.bin": np.random.default_rng(i).bytes(1000 * i) for i in range(6)}


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_any_cut_reads_back(tmp_path, parts):
    write_split(tmp_path / "x.zip", FILES, parts)
    volumes = split_zip.volumes(tmp_path / "x.zip")
    assert (volumes is None) == (parts == 1)
    with zipfile.ZipFile(
        split_zip.JoinedZip(volumes) if volumes else tmp_path / "x.zip"
    ) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == FILES


# Info-ZIP 3.0: `zip -0 -X -r -s 64k s.zip a` over three files of 50 000 x, y and z; LZMA, base 85.
INFO_ZIP = {
    "s.z01": (
        "{Wp48S^xk9=GL@E0stWa8~^|S5YJf5;Q#*shg|?D61?C~{>T7UqZ7^np^|aZCH+^5$g95`Ht5fC#eMI~HPAP4)qc"
        ")awO7Ble0zS0bi>UMU9N3+)!M^Z^=JnIP$w$iiGh9*JD-Yovo@y^)@@~&!r6KZmCz(P8>>l_hsgJV=IB6YF->@vk"
        "2(lrVr~_VtOrR&*>kwx5EN8@Piu=;fB*mh*Wv5rAQ^9Z00E-`fPe%5lJ>m`vBYQl0ssI200dcD"
    ),
    "s.z02": (
        "{Wp48S^xk9=GL@E0stWa8~^|S5YJf5;Q#*sa$NvDZ~MRgqp@D)_&>6$CRO-oa6xbt4~_jEOdE<qw;A+l7;&y<BZ`"
        "VmFQX0Ff2QM%BN0>JSs2B2isE<puV9*TI4Y4#n%1r7ee+0PUhVMFCC0Zr3B}=9FXn)ecfdaJBbVS2qA`6{cQX>i?"
        "Pj<D00000eC+e)uQ<C000E8xfPe%5df<<;vBYQl0ssI200dcD"
    ),
    "s.zip": (
        "{Wp48S^xk9=GL@E0stWa8~^|S5YJf5;7ex!nq2@q@B6?0qp@D)_&>6$CRO-oa6xbt4~_jEOdE<qw;A+l7;&y<BZ`"
        "VmFQX0Ff2QM%BN0#F1#22ZCPF@ssHk=ThaPlV5UeHaEVc-Gq|R{>1>pS)1U~B{>}wJP`R2uE_O#uLGnSi)Ie?)d&"
        "d%QR20dqo1l`D@*=0P1KMRGACam`eapm>hnL;xkjzPcV^1&97r%Qzh00000xn%KoeZuJ600FiE=#~Kh(UIuEvBYQ"
        "l0ssI200dcD"
    ),
}


def test_the_program_zip(tmp_path):
    """Info-ZIP's own split archive, which is what WavCaps is made of, as recorded."""
    for name, text in INFO_ZIP.items():
        (tmp_path / name).write_bytes(lzma.decompress(base64.b85decode(text)))
    with zipfile.ZipFile(split_zip.JoinedZip(split_zip.volumes(tmp_path / "s.zip"))) as archive:
        for i, letter in enumerate(b"xyz"):
            assert archive.read(f"a/{i}.bin") == bytes([letter]) * 50_000


def test_a_missing_part_is_named(tmp_path):
    write_split(tmp_path / "x.zip", FILES, 4)
    (tmp_path / "x.z03").unlink()
    report = Report()
    FileIndex(tmp_path, tmp_path / "scratch", report)
    ((name, reason),) = report.skipped
    assert name == "x.zip" and "4 parts are needed, 3 are there" in reason


def test_damaged_members_are_unreadable(tmp_path):
    """Deflated streams that break: the reason is named, nothing else is raised."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.wav", np.random.default_rng(0).bytes(5000) + bytes(5000))
    whole = bytearray((tmp_path / "x.zip").read_bytes())
    for kind in ("flipped", "zeroed"):
        damaged = bytearray(whole)
        damaged[60:200] = bytes(140) if kind == "zeroed" else bytes(b ^ 255 for b in whole[60:200])
        (tmp_path / f"{kind}.zip").write_bytes(damaged)
        place = FileRef(str(tmp_path / f"{kind}.zip"), "a.wav")
        with pytest.raises(Unreadable, match="cannot be read"):
            place.read()
