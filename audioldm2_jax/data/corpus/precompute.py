"""Precomputes the frozen encoders' outputs of a prepared corpus; training then needs no encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import grain
import jax.numpy as jnp
import numpy as np

from audioldm2_jax import tree
from audioldm2_jax.checkpoints.hub import Checkpoint
from audioldm2_jax.data.corpus import reader
from audioldm2_jax.data.corpus.examples import audio_features
from audioldm2_jax.data.corpus.frozen_encoders import FrozenEncoders, PrecomputeConfig
from audioldm2_jax.data.corpus.writer import CorpusWriter, Shard, shard_size
from audioldm2_jax.data.ingest.report import Report
from audioldm2_jax.data.loading.error_budget import FailedClip
from audioldm2_jax.data.loading.stream import CorpusSource, ExampleSource
from audioldm2_jax.data.loading.transforms import ClipTransform
from audioldm2_jax.encoders.latents import check_length
from audioldm2_jax.encoders.loa import check_poolings
from audioldm2_jax.errors import InputError


def precompute(
    source,
    target,
    checkpoint: Checkpoint,
    config: PrecomputeConfig,
    *,
    report: Report,
    progress: Callable[[int], None] | None = None,
) -> dict:
    """Writes a precomputed corpus with the splits of `source`; returns its statistics.

    source, target: folders. A stopped run resumes. report: receives the clips that fail. progress:
    called with numbers of crops that add up to `count_crops`. Raises InputError for a source
    without audio, a target with other content, and settings that do not fit the checkpoint.
    """
    check_length(checkpoint.config, config.seconds)
    check_poolings(checkpoint.config, config.loa)
    info = reader.open_builder(source).info
    if "audio" not in info.features:
        raise InputError(f"{source}: holds no audio; it is encoded already")
    writer = CorpusWriter(target, _settings(info, checkpoint, config))
    if writer.finished:
        return reader.read_statistics(target)
    encoders = FrozenEncoders(checkpoint, config)
    features = precomputed_features(checkpoint, config)
    summaries = {}
    for split in sorted(info.splits):
        stream = _crops(CorpusSource(str(source), split), encoders.transform, config)
        for shard, start, stop in _shards(split, len(stream)):
            summary = writer.read_summary(shard)
            if summary is None:
                failed = Report()
                examples = encoders.examples(stream, start, stop, failed)
                summary = writer.write_shard(shard, examples, features, failed)
            summaries[shard] = summary
            if progress:
                progress(stop - start)
    metadata = {"name": f"{info.name}_encoded", "description": f"made of {info.name}"}
    metadata |= {"citation": info.citation}
    return writer.finish(summaries, features, report=report, metadata=metadata)


def _settings(info, checkpoint: Checkpoint, config: PrecomputeConfig) -> dict:
    """What a precomputed corpus is made from."""
    return {
        "source": f"{info.name}, {sum(s.num_examples for s in info.splits.values())} clips",
        "model": tree.fingerprint(checkpoint.params),
        **{k: getattr(config, k) for k in ("seconds", "crops", "loa", "text_length", "seed")},
        "dtype": jnp.dtype(config.dtype).name,
    }


def _shards(split: str, count: int) -> Iterator[tuple[Shard, int, int]]:
    """Yields (shard, start, stop) of a split with `count` crops."""
    size = shard_size(count)
    for number, start in enumerate(range(0, count, size)):
        yield Shard(split, number), start, min(start + size, count)


def count_crops(source, config: PrecomputeConfig) -> int:
    """The number of crops of a corpus: `config.crops` for each clip. Raises InputError."""
    info = reader.open_builder(source).info
    return config.crops * sum(split.num_examples for split in info.splits.values())


def textless_splits(source, config) -> list[str]:
    """One line for each split in which clips have neither captions nor labels.

    Their text is encoded as an empty one. config: the model's; without a text encoder there are no
    lines. Raises InputError for a folder that is no corpus.
    """
    if not (config.t5 or config.clap):
        return []
    lines = []
    for split in sorted(reader.open_builder(source).info.splits):
        counts = reader.text_counts(source, split)
        missing = counts["clips"] - counts["described"] if counts else 0
        if missing:
            share = "all" if missing == counts["clips"] else f"{missing}"
            lines.append(
                f"{split}: {share} of {counts['clips']} clips have neither caption nor labels; "
                "their text is encoded as empty"
            )
    return lines


def precomputed_features(checkpoint: Checkpoint, config: PrecomputeConfig):
    """The TFDS features of a precomputed example.

    Always: id, captions, labels, transcript, seconds, sample_rate, extra, and the VAE's mean and
    logvar [T, F, C]. With the encoders: clap_audio [D], clap_text [captions, D], t5 (all captions'
    states in a row) [L, D], t5_lengths [captions], loa_N [L, D]. CLAP's are float32, the others
    float16.
    """
    import tensorflow_datasets as tfds

    def array(*shape, dtype=np.float16):
        return tfds.features.Tensor(shape=shape, dtype=dtype, encoding="bytes")

    model = checkpoint.config
    features = {k: v for k, v in audio_features().items() if k != "audio"}
    features |= {key: array(None, None, model.vae.latent_channels) for key in ("mean", "logvar")}
    if model.has_audio_tower:
        features["clap_audio"] = array(model.clap.width, dtype=np.float32)
    if model.clap:
        features["clap_text"] = array(None, model.clap.width, dtype=np.float32)
    if model.t5:
        features["t5"] = array(None, model.t5.width)
        features["t5_lengths"] = array(None, dtype=np.int32)
    for pool in config.loa:
        features[f"loa_{pool}"] = array(None, model.audiomae.width)
    return tfds.features.FeaturesDict(features)


class _KeepExample:
    """A transform that returns (example without its audio, element)."""

    def __init__(self, transform: ClipTransform):
        self.transform = transform

    def __call__(self, example, rng):
        element = self.transform(example, rng)
        if not isinstance(example, FailedClip):
            example = {k: v for k, v in example.items() if k != "audio"}
        return example, element


def _crops(source: CorpusSource, transform: ClipTransform, config: PrecomputeConfig):
    """All crops: the first of each clip, then the second. Draws depend on the seed only."""
    examples = grain.MapDataset.source(ExampleSource(source)).seed(config.seed)
    return examples.random_map(_KeepExample(transform)).repeat(config.crops)
