"""Writes recordings as token stores, and gathers the features that k-means is fitted on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from audioldm2_jax import tree
from audioldm2_jax.audio import resample
from audioldm2_jax.data.corpus import reader
from audioldm2_jax.data.corpus.examples import valid_text
from audioldm2_jax.data.corpus.writer import CorpusWriter, Shard, shard_size
from audioldm2_jax.data.ingest.file_ref import Unreadable
from audioldm2_jax.data.ingest.report import Report
from audioldm2_jax.data.tokens.recordings import (
    Piece,
    Recording,
    open_recordings,
    piece_name,
    pieces,
)
from audioldm2_jax.data.tokens.store import KIND, check_record, token_features
from audioldm2_jax.encoders.codec import Codec
from audioldm2_jax.encoders.repeats import deduplicate
from audioldm2_jax.encoders.semantic import SemanticEncoder, SemanticTokenizer, padded_frames
from audioldm2_jax.errors import InputError

MAX_CODEBOOK = 1 << 16


@dataclass(frozen=True)
class TokenizeConfig:
    """seconds: longest piece of a recording. levels: of the codec, None for all. repeats: whether
    semantic tokens keep theirs; otherwise run lengths stand beside them.
    """

    seconds: float = 30.0
    levels: int | None = None
    repeats: bool = False


def protocol(
    codec: Codec | None, semantic: SemanticTokenizer | None, config: TokenizeConfig, source: str
) -> dict:
    """What a store is made by and from: networks by their fingerprints, rates and codebooks.

    Raises InputError for codebooks that uint16 does not hold, and for levels that are not there.
    """
    if codec is None and semantic is None:
        raise InputError("neither a codec nor a semantic encoder: name one of them")
    settings: dict = {"kind": KIND, "source": source, "seconds": config.seconds}
    settings |= {"semantic": None, "codec": None}
    if codec is not None:
        levels = codec.levels if config.levels is None else config.levels
        if not 1 <= levels <= codec.levels:
            raise InputError(f"{levels} levels: this codec has 1 to {codec.levels}")
        settings["codec"] = {
            "model": codec.name,
            "fingerprint": codec.fingerprint,
            "sample_rate": codec.sample_rate,
            "frame_rate": codec.frame_rate,
            "levels": levels,
            "codebook": codec.codebook,
            "scales": bool(getattr(codec.config, "normalize", False)),
        }
    if semantic is not None:
        encoder = semantic.encoder
        settings["semantic"] = {
            "model": encoder.name,
            "fingerprint": tree.fingerprint(encoder.params),
            "centroids": tree.fingerprint(semantic.centroids),
            "layer": semantic.kmeans.layer,
            "sample_rate": semantic.sample_rate,
            "frame_rate": semantic.frame_rate,
            "codebook": semantic.codebook,
            "repeats": config.repeats,
        }
    for key in ("codec", "semantic"):
        if settings[key] and settings[key]["codebook"] > MAX_CODEBOOK:
            raise InputError(f"{key}: {settings[key]['codebook']} codes do not fit 16 bits")
    return settings


def tokenize(
    source,
    target,
    codec: Codec | None,
    semantic: SemanticTokenizer | None,
    config: TokenizeConfig,
    *,
    report: Report,
    start: Callable[[int], None] = lambda total: None,
    progress: Callable[[int], None] = lambda count: None,
) -> dict:
    """Writes a token store with the splits of `source`; returns its statistics.

    source: a folder of sounds or a prepared corpus. A stopped run resumes. report: receives the
    recordings that fail. start: called with the number of recordings; progress: with counts that
    add up to it. Raises InputError for a source without audio and a target with other content.
    """
    splits, digest = open_recordings(source, report)
    settings = protocol(codec, semantic, config, digest)
    writer = CorpusWriter(target, settings)
    if writer.finished:
        return reader.read_statistics(target)
    start(sum(map(len, splits.values())))
    features, summaries = token_features(settings), {}
    tokenizer = _Tokenizer(codec, semantic, settings)
    for split, recordings in splits.items():
        size = shard_size(len(recordings))
        for number, first in enumerate(range(0, len(recordings), size)):
            shard = Shard(split, number)
            indices = range(first, min(first + size, len(recordings)))
            summary = writer.read_summary(shard)
            if summary is not None:
                progress(len(indices))
            else:
                failed = Report()
                examples = tokenizer.examples(recordings, indices, failed, progress)
                summary = writer.write_shard(shard, examples, features, failed)
            summaries[shard] = summary
    metadata = {"name": "tokens", "description": f"tokens of {source}"}
    return writer.finish(summaries, features, report=report, metadata=metadata)


class _Tokenizer:
    """The networks of a store, over recordings."""

    def __init__(self, codec, semantic, settings: dict):
        self.codec, self.semantic, self.settings = codec, semantic, settings

    def examples(self, recordings, indices, report: Report, progress) -> Iterator[dict]:
        """Yields the records of recordings; the report receives those that cannot be used."""
        for index in indices:
            try:
                recording = recordings[index]
                for piece in pieces(recording, self.settings["seconds"], report):
                    if example := self._example(recording, piece, report):
                        yield example
            except Unreadable as error:
                report.skip(recordings.name(index), str(error))
            progress(1)

    def _example(self, recording: Recording, piece: Piece, report: Report) -> dict | None:
        """The record of a piece; None for one that is shorter than a frame."""
        name = piece_name(recording, piece)
        tokens = {}
        if self.semantic is not None:
            wave = mono(piece, self.semantic.sample_rate)
            if wave.shape[1] < self.semantic.encoder.config.window:
                report.skip(name, "shorter than one frame of the semantic encoder")
                return None
            tokens |= self._semantic(wave)
        if self.codec is not None:
            tokens |= self._acoustic(piece)
        check_record(tokens, self.settings, name)
        example = {
            "id": name,
            "captions": [valid_text(text) for text in recording.captions],
            "labels": [valid_text(text) for text in recording.labels],
            "transcript": valid_text(recording.transcript),
            "seconds": len(piece.wave) / piece.sample_rate,
            "start": piece.start,
            "sample_rate": piece.sample_rate,
        }
        integers = {k: v.astype(np.uint16) for k, v in tokens.items() if k != "scales"}
        return example | tokens | integers

    def _semantic(self, wave) -> dict:
        ids = self.semantic.encode(wave)
        if self.settings["semantic"]["repeats"]:
            return {"semantic": ids[0]}
        length = ids.shape[1]
        padded = np.pad(ids, ((0, 0), (0, padded_frames(length) - length)))
        values, runs, count = map(np.asarray, deduplicate(padded, np.array([length])))
        return {"semantic": values[0, : count[0]], "run_lengths": runs[0, : count[0]]}

    def _acoustic(self, piece: Piece) -> dict:
        codec = self.codec
        wave = mono(piece, codec.sample_rate)
        if piece.wave.shape[1] == codec.channels > 1:
            wave = resample(piece.wave.T, piece.sample_rate, codec.sample_rate).T[None]
        tokens = {"acoustic": codec.encode(wave, self.settings["codec"]["levels"])[0]}
        if self.settings["codec"]["scales"]:
            tokens["scales"] = np.asarray(codec.scales(wave)[0], np.float32)
        return tokens


def mono(piece: Piece, sample_rate: int) -> np.ndarray:
    """The first audible channel of a piece at another rate: [1, samples]."""
    return resample(piece.wave[None, :, piece.channel], piece.sample_rate, sample_rate)


def gather_features(
    source,
    encoder: SemanticEncoder,
    layer: int,
    *,
    frame_rate: int | None = None,
    rows: int,
    report: Report,
    seed: int = 0,
    progress: Callable[[int], None] = lambda count: None,
) -> np.ndarray:
    """States of recordings in a random order, until there are so many: fp32 [rows or fewer, D].

    source: as of `tokenize`. layer, frame_rate: as of `SemanticEncoder.features`. progress: called
    with numbers of rows. Raises InputError for a source without usable audio.
    """
    splits, _ = open_recordings(source, report)
    name = "train" if "train" in splits else next(iter(splits))
    recordings, features, count = splits[name], [], 0
    for index in np.random.default_rng(seed).permutation(len(recordings)):
        try:
            for piece in pieces(recordings[int(index)], 30.0, report):
                wave = mono(piece, encoder.sample_rate)
                if count < rows and wave.shape[1] >= encoder.config.window:
                    states = encoder.features(wave, layer, frame_rate=frame_rate)[0]
                    features.append(states[: rows - count])
                    count += len(features[-1])
                    progress(len(features[-1]))
        except Unreadable as error:
            report.skip(recordings.name(int(index)), str(error))
        if count == rows:
            break
    if not features:
        raise InputError(f"{source}: no audio that can be used{report.reasons()}")
    return np.concatenate(features)
