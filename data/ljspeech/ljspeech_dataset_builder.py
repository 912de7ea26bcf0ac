"""LJSpeech: 13100 sentences read by one voice, with their text."""

from audioldm2_jax.data.corpus.corpus_builder import CorpusBuilder
from audioldm2_jax.data.ingest.clip_record import ClipRecord
from audioldm2_jax.errors import InputError


class Builder(CorpusBuilder):
    """One split, train. The transcript is the text with its numbers and abbreviations spelt out."""

    HOMEPAGE = "https://keithito.com/LJ-Speech-Dataset"
    LICENSE = "public domain"
    MANUAL_DOWNLOAD_INSTRUCTIONS = "LJSpeech-1.1.tar.bz2, or the folder unpacked from it."

    def clips(self, index, report):
        text = index.require("metadata.csv").decode("utf-8")
        return {"train": [clip_of(index, line) for line in text.split("\n") if line.strip()]}


def clip_of(index, line):
    """A line's clip. Raises InputError for a line without text."""
    # Each bar separates fields; quotes are plain characters.
    fields = line.rstrip("\r").split("|")
    if len(fields) < 2:
        raise InputError(f"metadata.csv: id|text|normalised text is expected, found {line[:60]!r}")
    name, raw, spelt = fields[0], fields[1], fields[-1]
    return ClipRecord(
        name,
        index.find(f"wavs/{name}.wav"),
        transcript=spelt.strip() or raw.strip(),
        extra={"raw": raw},
    )
