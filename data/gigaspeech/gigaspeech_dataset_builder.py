"""GigaSpeech: transcribed English speech, cut out of long recordings."""

import tensorflow_datasets as tfds

from audioldm2_jax.data.corpus.corpus_builder import CorpusBuilder
from audioldm2_jax.data.ingest.clip_record import ClipRecord
from audioldm2_jax.errors import InputError

SUBSETS = ("xs", "s", "m", "l", "xl")
MARKS = {"<COMMA>": ",", "<PERIOD>": ".", "<QUESTIONMARK>": "?", "<EXCLAMATIONPOINT>": "!"}
NOT_SPEECH = ("<SIL>", "<MUSIC>", "<NOISE>", "<OTHER>")


class Builder(CorpusBuilder):
    """Splits train (of the configuration's size), validation and test; a clip is a segment.

    Segments of silence, music and noise are skipped and counted. GigaSpeech.json is read as a
    stream, since it is larger than most machines' memory.
    """

    HOMEPAGE = "https://github.com/SpeechColab/GigaSpeech"
    LICENSE = "Apache 2.0 with terms of access; audio: of its owners"
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "GigaSpeech.json and the folder audio/, as the official scripts lay them."
    )
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in SUBSETS]

    def clips(self, index, report):
        tags = {f"{{{self.builder_config.name.upper()}}}": "train"}
        tags |= {"{DEV}": "validation", "{TEST}": "test"}
        splits = {}
        for recording in recordings(index):
            file = index.find(recording["path"])
            for segment in recording["segments"]:
                split = next((tags[tag] for tag in segment["subsets"] if tag in tags), None)
                if split and (clip := segment_clip(file, recording, segment, report)):
                    splits.setdefault(split, []).append(clip)
        return splits


def recordings(index):
    """Yields the recordings of GigaSpeech.json. Raises InputError if it is missing or broken."""
    try:
        import ijson
    except ImportError:
        raise InputError(
            "GigaSpeech.json needs the package ijson: pip install 'audioldm2-jax[corpora]'"
        ) from None
    file = index.find("GigaSpeech.json")
    if file is None:
        raise InputError(f"{index.folder}: GigaSpeech.json is not there")
    try:
        with file.open() as stream:
            yield from ijson.items(stream, "audios.item", use_float=True)
    except ijson.JSONError as error:
        raise InputError(f"{file.path}: no JSON ({error})") from None


def segment_clip(file, recording, segment, report):
    """A segment's clip; None for a segment without speech."""
    words = segment["text_tn"].split()
    if any(word in NOT_SPEECH for word in words):
        report.skip(segment["sid"], f"no speech ({' '.join(words)})")
        return None
    text = " ".join(words)
    for tag, mark in MARKS.items():
        text = text.replace(f" {tag}", mark).replace(tag, mark)
    return ClipRecord(
        segment["sid"],
        file,
        transcript=text,
        start=segment["begin_time"],
        stop=segment["end_time"],
        extra={"speaker": segment.get("speaker", ""), "source": recording.get("source", "")},
    )
