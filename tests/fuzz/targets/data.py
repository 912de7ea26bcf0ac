"""Sound, tables, archives and exports that `prepare` reads; prepared and encoded corpora."""

from __future__ import annotations

import csv
import functools
import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import soundfile

from audioldm2_jax.errors import InputError
from tests.fuzz import law, mutate
from tests.fuzz.law import command
from tests.fuzz.targets import Case, Target


def sound(number: int, kind: str = "WAV", subtype: str | None = None, rate: int = 16000) -> bytes:
    """0.3 s of a tone."""
    wave = 0.3 * np.sin(np.arange(int(0.3 * rate)) * 0.05 * (number + 1))
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format=kind, subtype=subtype)
    return file.getvalue()


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def corpus_ready(folder: Path) -> list:
    """Names of what makes a folder a corpus."""
    return [str(p) for p in folder.rglob("dataset_info.json") if ".work" not in p.parts]


def prepare(case: Case, source: Path | None = None):
    rate = case.rng.choice(((), ("--sample_rate", case.rng.choice((8000, 16000, 48000)))))
    command("prepare", source or case.input, case.output / "x", "-q", "--workers", 1, *rate)


KINDS = {
    "a.wav": ("WAV", "PCM_16"),
    "b.flac": ("FLAC", None),
    "c.mp3": ("MP3", None),
    "d.ogg": ("OGG", "VORBIS"),
    "e.opus": ("OGG", "OPUS"),
    "f.aiff": ("AIFF", None),
    "g.au": ("AU", None),
    "h.wav": ("WAV", "FLOAT"),
    "i.wav": ("WAV", "GSM610"),
    "j.caf": ("CAF", None),
    "k.w64": ("W64", None),
    "l.wav": ("WAV", "IMA_ADPCM"),
    "m.rf64": ("RF64", None),
}


def build_audio(folder: Path) -> None:
    write(folder, {name: sound(i, *kind) for i, (name, kind) in enumerate(KINDS.items())})


def damage_audio(rng, folder: Path) -> str:
    """Two files stay, one of them damaged."""
    chosen = rng.sample(sorted(folder.iterdir()), 2)
    for path in folder.iterdir():
        if path not in chosen:
            path.unlink()
    return mutate.damage_tree(rng, folder)


def build_tables(folder: Path) -> None:
    """A folder for each manner of giving captions."""
    two = {"a.wav": sound(0), "sub/b.flac": sound(1, "FLAC")}
    header, rows = (
        "file_name,caption,label,split",
        ("a.wav,a tone,x,train", "sub/b.flac,two,y,test"),
    )
    records = [dict(zip(header.split(","), row.split(","))) for row in rows]
    tables = {
        "csv/metadata.csv": "\n".join((header, *rows)),
        "tsv/metadata.tsv": "\n".join((header, *rows)).replace(",", "\t"),
        "json/metadata.json": json.dumps({"data": records}),
        "jsonl/metadata.jsonl": "\n".join(map(json.dumps, records)),
        "texts/a.txt": "a tone\nanother",
        "beside/a.json": json.dumps({"caption": "a tone", "tags": ["x", "y"]}),
    }
    write(folder, {name: text.encode() for name, text in tables.items()})
    for name in ("csv", "tsv", "json", "jsonl", "texts", "beside"):
        write(folder / name, two)


def damage_tables(rng, folder: Path) -> str:
    """One manner; mostly the table itself, sometimes a value that a table cannot mean."""
    import shutil

    chosen = rng.choice(sorted(folder.iterdir()))
    for other in folder.iterdir():
        if other != chosen:
            shutil.rmtree(other)
    tables = [p for p in chosen.iterdir() if p.suffix[1:] in ("csv", "tsv", "json", "jsonl", "txt")]
    path, kind = tables[0], rng.random()
    if kind < 0.2:
        return f"{chosen.name}/{mutate.damage_tree(rng, chosen)}"
    if kind < 0.6 and path.suffix in (".csv", ".tsv"):
        with path.open(newline="") as file:
            table = list(csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ","))
        row = rng.choice(table)
        row[rng.randrange(len(row))] = value = rng.choice(mutate.TEXTS)
        out = io.StringIO()
        csv.writer(out, delimiter="\t" if path.suffix == ".tsv" else ",").writerows(table)
        mutate.replace(path, out.getvalue().encode("utf-8", "surrogatepass"))
        return f"{chosen.name}/{path.name}: a value {value!r:.50}"
    data, note = mutate.changer_of(path)(rng, path.read_bytes())
    mutate.replace(path, data)
    return f"{chosen.name}/{path.name}: {note}"


def build_archives(folder: Path) -> None:
    files = {"d/a.wav": sound(0), "d/b.flac": sound(1, "FLAC"), "d/metadata.csv": TABLE}
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    for mode in ("w:", "w:gz", "w:bz2", "w:xz"):
        name = "t.tar" + mode[1:].replace(":", ".").rstrip(".")
        with tarfile.open(folder / name, mode) as archive:
            for member, data in files.items():
                info = tarfile.TarInfo(member)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    import py7zr

    with py7zr.SevenZipFile(folder / "s.7z", "w") as archive:
        for name, data in files.items():
            archive.writestr(data, name)


TABLE = b"file_name,caption\na.wav,one\nb.flac,two\n"


def damage_archive(rng, folder: Path) -> str:
    chosen = rng.choice(sorted(folder.iterdir()))
    for other in folder.iterdir():
        if other != chosen:
            other.unlink()
    return mutate.damage_tree(rng, folder)


def build_exports(folder: Path) -> None:
    """Parquet as on the hub, and a folder of save_to_disk."""
    import pyarrow
    import pyarrow.parquet

    struct = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    clips = [{"bytes": sound(i), "path": f"{i}.wav"} for i in range(2)]
    columns = {"audio": pyarrow.array(clips, struct), "caption": ["one", "two"], "label": [0, 1]}
    features = {"label": {"names": ["dog", "cat"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pyarrow.table(columns).replace_schema_metadata(metadata)
    (folder / "hub").mkdir(parents=True)
    pyarrow.parquet.write_table(table, folder / "hub" / "train-00000-of-00001.parquet")
    saved = folder / "disk" / "train"
    saved.mkdir(parents=True)
    with pyarrow.OSFile(str(saved / "data-00000-of-00001.arrow"), "wb") as file:
        with pyarrow.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": "train"}
    files = {"state.json": state, "dataset_info.json": {"features": features}}
    write(saved, {name: json.dumps(content).encode() for name, content in files.items()})
    write(folder / "disk", {"dataset_dict.json": b'{"splits": ["train"]}'})


def prepare_export(case: Case):
    refused = []
    for i, name in enumerate(("hub", "disk", "disk/train")):
        try:
            command("prepare", case.input / name, case.output / str(i), "-q", "--workers", 1)
        except InputError as error:
            refused.append(error)
            law.require(not corpus_ready(case.output / str(i)), "refused, but finished")
    if refused:
        raise refused[0]


def build_corpus(folder: Path) -> None:
    from audioldm2_jax.data.ingest.report import Report  # noqa: F401
    from tests.data.corpora import write_corpus

    folder.parent.mkdir(parents=True, exist_ok=True)
    write_corpus(folder, 4, splits=("train",))


def _epoch(folder: Path, transform) -> None:
    from audioldm2_jax.data.loading.batches import Batches
    from audioldm2_jax.data.loading.stream import CorpusSource, DataConfig

    config = DataConfig((CorpusSource(str(folder), "train"),), 2, transform, epochs=1, threads=1)
    with Batches(config) as batches:
        for _ in batches:
            pass


def read_corpus(case: Case):
    from audioldm2_jax.data.corpus import reader
    from audioldm2_jax.data.loading.transforms import ClipTransform

    reader.read_description(case.input)
    _epoch(case.input, ClipTransform(0.64, clap=True))


@functools.cache
def _checkpoint():
    from audioldm2_jax.data.untrained import random_checkpoint
    from audioldm2_jax.presets import PRESETS

    return random_checkpoint(PRESETS["tiny-audioldm"]())


def build_encoded(folder: Path) -> None:
    from audioldm2_jax.data.corpus.frozen_encoders import PrecomputeConfig
    from audioldm2_jax.data.corpus.precompute import precompute
    from audioldm2_jax.data.ingest.report import Report
    from tests.data.corpora import write_corpus

    raw = write_corpus(folder.with_name("to-encode"), 4)
    settings = PrecomputeConfig(seconds=0.64, batch=4)
    precompute(raw, folder, _checkpoint(), settings, report=Report())


def read_encoded(case: Case):
    from audioldm2_jax.data.loading.transforms import ClipTransform

    _epoch(case.input, ClipTransform(0.64, text_length=24))


def build_stopped(folder: Path) -> None:
    """`source`, and `target`: a preparation that was stopped after its first part."""
    import pytest

    write(folder / "source", {f"{i:02d}.wav": sound(i) for i in range(20)})

    def stop(_):
        raise KeyboardInterrupt

    from audioldm2_jax.cli import prepare as prepare_command  # noqa: F401
    from audioldm2_jax.data.corpus import writer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer.CorpusWriter, "finish", lambda *a, **k: stop(0))
        from audioldm2_jax.cli.main import main

        arguments = ["prepare", folder / "source", folder / "target", "-q", "--workers", "1"]
        assert main(list(map(str, arguments))) == 130
    assert (folder / "target" / ".work" / "plan.json").is_file()


def damage_stopped(rng, folder: Path) -> str:
    return mutate.damage_tree(rng, folder / "target")


def resume_prepare(case: Case):
    """The plan holds the source's path, so the template's own source is read."""
    source = case.template / "source"
    command("prepare", source, case.input / "target", "-q", "--workers", 1)


def _each(case: Case):
    for folder in sorted(case.input.iterdir()):
        rate = case.rng.choice(((), ("--sample_rate", 8000)))
        command("prepare", folder, case.output / folder.name, "-q", "--workers", 1, *rate)


TARGETS = [
    Target("audio", build_audio, prepare, damage_audio, corpus_ready, share=3, least=20),
    Target("tables", build_tables, _each, damage_tables, corpus_ready, share=2),
    Target("archives", build_archives, prepare, damage_archive, corpus_ready, share=2),
    Target("exports", build_exports, prepare_export),
    Target("corpora", build_corpus, read_corpus),
    Target("encoded", build_encoded, read_encoded),
    Target("stopped", build_stopped, resume_prepare, damage_stopped),
]
