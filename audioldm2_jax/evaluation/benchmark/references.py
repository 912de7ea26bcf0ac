"""The clips that a table's rows are scored against, with the texts that systems are given."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from audioldm2_jax import files
from audioldm2_jax.data.corpus import reader
from audioldm2_jax.data.ingest.file_ref import Unreadable
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.benchmark.selection import prompt_of, select
from audioldm2_jax.evaluation.clips import Clip, ClipSet, Problems, open_clips
from audioldm2_jax.evaluation.protocol import EvalProtocol
from audioldm2_jax.evaluation.tables import Corpus


@dataclass(frozen=True)
class Reference:
    """A corpus' evaluation clips. clips: in the order in which they are drawn, named NAME.wav, with
    the row's text as caption; clip_set: the same. notes: what a reader should know of the list.
    """

    corpus: Corpus
    path: Path
    clips: tuple[Clip, ...]
    clip_set: ClipSet
    notes: tuple[str, ...] = ()

    @functools.cached_property
    def digest(self) -> str:
        """Of the clips' names and bytes; reads every clip once."""
        return content_digest(self.clips)


def content_digest(clips: Iterable[Clip]) -> str:
    """SHA-256 of names and encoded bytes, in any order: 16 hex digits.

    A clip that cannot be read counts by its name and the reason.
    """
    digest = hashlib.sha256()
    for clip in sorted(clips, key=lambda clip: clip.name):
        try:
            content = hashlib.sha256(clip.source.read()).hexdigest()
        except Unreadable as error:
            content = str(error)
        digest.update(f"{clip.name}\0{content}\0".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]


def open_reference(
    corpus: Corpus,
    path: Path,
    protocol: EvalProtocol,
    limit: int | None = None,
    *,
    follow_links: bool = False,
) -> Reference:
    """Opens a corpus' evaluation clips.

    path: a prepared corpus, or a folder of sound files, whose split is not asked for. limit: only
    the first clips that are drawn. follow_links: reads links in a folder, too. Raises InputError
    for a corpus without them, and for clips without the texts that the corpus' prompt takes.
    """
    prepared = reader.is_corpus(path) or any(path.glob("*/dataset_info.json"))
    split = corpus.split if prepared else None
    opened = open_clips(path, protocol, split=split, follow_links=follow_links)
    chosen = select(
        opened.clips, corpus, name=lambda c: c.name, labels=lambda c: c.labels, limit=limit
    )
    clips = tuple(_with_text(clip, corpus, path) for clip in chosen)
    # Generated files have the names of their clips: pairs are found by them.
    clip_set = ClipSet(f"{corpus.name} ({path})", clips, Problems(), protocol)
    return Reference(corpus, path, clips, clip_set, tuple(_notes(corpus, len(clips), limit)))


def _with_text(clip: Clip, corpus: Corpus, path: Path) -> Clip:
    texts = {"caption": clip.caption, "labels": clip.labels, "transcript": clip.transcript}
    prompt = prompt_of(corpus.prompt, **texts)
    if not prompt:
        raise InputError(f"{path}: {clip.name} has no {corpus.prompt}, of which prompts are made")
    return dataclasses.replace(clip, name=wav_name(clip.name), caption=prompt)


def wav_name(name: str) -> str:
    """The name of a clip's file, in one folder: `sub/a.flac` is `sub-a.wav`."""
    path = PurePosixPath(name)
    known = (".wav", ".flac", ".mp3", ".ogg")
    stem = path.with_suffix("") if path.suffix.lower() in known else path
    return f"{str(stem).replace('/', '-')}.wav"


def _notes(corpus: Corpus, count: int, limit: int | None):
    if corpus.selection == "random" and count < corpus.count and count != limit:
        yield f"{corpus.name}: {count} clips, the table has {corpus.count}"
    if limit is not None and count == limit:
        yield f"{corpus.name}: only {count} clips (--limit); FD and FAD fall with more clips"
    if corpus.note:
        yield f"{corpus.name}: {corpus.note}"


def write_list(reference: Reference, folder: Path) -> Path:
    """Writes the prompts as `generate -tl` reads them, for systems that run elsewhere.

    Raises InputError where the file cannot be written.
    """
    path = folder / f"{reference.corpus.name}.prompts.txt"
    lines = [f"{' '.join(clip.caption.split())}|{clip.name}" for clip in reference.clips]
    files.write_text(path, "\n".join(lines) + "\n")
    return path
