"""A prepared corpus to what the frozen encoders make of it; training then needs none of them."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax import tree
from audioldm2_jax.checkpoints.hub import Checkpoint
from audioldm2_jax.data.corpus import reader
from audioldm2_jax.data.corpus.examples import audio_features
from audioldm2_jax.data.corpus.writer import CorpusWriter, Shard, shard_size
from audioldm2_jax.data.ingest.report import Report
from audioldm2_jax.data.loading import tokenise
from audioldm2_jax.data.loading.error_budget import FailedClip
from audioldm2_jax.data.loading.stream import CorpusSource, ExampleSource
from audioldm2_jax.data.loading.transforms import ClipTransform
from audioldm2_jax.encoders.corpus import encode_audio, encode_texts
from audioldm2_jax.encoders.latents import check_length
from audioldm2_jax.encoders.loa import check_poolings
from audioldm2_jax.errors import InputError


@dataclass(frozen=True)
class PrecomputeConfig:
    """What is kept of each clip.

    crops: random crops of clips longer than `seconds` (shorter ones come once); loa: poolings;
    text_length: T5's tokens at most; batch: clips encoded at once.
    """

    seconds: float = 10.24
    crops: int = 1
    loa: tuple[int, ...] = ()
    text_length: int = 128
    batch: int = 8
    seed: int = 0
    dtype: Any = jnp.float32


def precompute(
    source,
    target,
    checkpoint: Checkpoint,
    encoding: PrecomputeConfig,
    *,
    report: Report,
    progress: Callable[[int], None] | None = None,
) -> dict:
    """Writes target, a corpus with the splits of source; returns its statistics.

    It goes on after a stop. report: receives the clips that fail; progress(clips done) adds up to
    `count_crops`. Raises InputError.
    """
    check_length(checkpoint.config, encoding.seconds)
    check_poolings(checkpoint.config, encoding.loa)
    info = reader.open_builder(source).info
    if "audio" not in info.features:
        raise InputError(f"{source}: holds no audio; it is encoded already")
    settings = {
        "source": f"{info.name}, {sum(s.num_examples for s in info.splits.values())} clips",
        "model": _fingerprint(checkpoint.params),
        **{k: getattr(encoding, k) for k in ("seconds", "crops", "loa", "text_length", "seed")},
        "dtype": jnp.dtype(encoding.dtype).name,
    }
    build = CorpusWriter(target, settings)
    if build.finished:
        return reader.read_statistics(target)
    machine, done = _Machine(checkpoint, encoding), {}
    features = encoded_features(checkpoint, encoding)
    for split in sorted(info.splits):
        stream = _stream(CorpusSource(str(source), split), machine.transform, encoding)
        size = shard_size(len(stream))
        for index, start in enumerate(range(0, len(stream), size)):
            part, stop = Shard(split, index), min(start + size, len(stream))
            done[part] = build.summary(part)
            if done[part] is None:
                found = Report()
                examples = machine.examples(stream, start, stop, found)
                done[part] = build.write(part, examples, features, found)
            if progress:
                progress(stop - start)
    about = {"name": f"{info.name}_encoded", "description": f"made of {info.name}"}
    about |= {"citation": info.citation}
    return build.finish(done, features, report=report, about=about)


def count_crops(source, encoding: PrecomputeConfig) -> int:
    """How many crops there are to encode."""
    info = reader.open_builder(source).info
    return encoding.crops * sum(split.num_examples for split in info.splits.values())


def report_textless(source, config) -> list[str]:
    """A line for each split whose clips, all or some, have no text that the model would read.

    Labels stand in for captions; what is left is encoded as an empty text.
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


def encoded_features(checkpoint: Checkpoint, encoding: PrecomputeConfig):
    """id, captions, labels, transcript, seconds, sample_rate, extra; mean, logvar [T, F, C].

    And, as far as the model has the encoders: clap_audio [D], clap_text [captions, D]; t5, all
    captions' states one after another [L, D], and t5_lengths; loa_N [L, D]. Half precision but for
    CLAP's.
    """
    import tensorflow_datasets as tfds

    def array(*shape, dtype=np.float16):
        return tfds.features.Tensor(shape=shape, dtype=dtype, encoding="bytes")

    config = checkpoint.config
    found = {k: v for k, v in audio_features().items() if k != "audio"}
    found |= {key: array(None, None, config.vae.latent_channels) for key in ("mean", "logvar")}
    if config.has_audio_tower:
        found["clap_audio"] = array(config.clap.width, dtype=np.float32)
    if config.clap:
        found["clap_text"] = array(None, config.clap.width, dtype=np.float32)
    if config.t5:
        found["t5"] = array(None, config.t5.width)
        found["t5_lengths"] = array(None, dtype=np.int32)
    for pool in encoding.loa:
        found[f"loa_{pool}"] = array(None, config.audiomae.width)
    return tfds.features.FeaturesDict(found)


class _Draw:
    """The transform's element with the example it was made of, less the sound."""

    def __init__(self, transform: ClipTransform):
        self.transform = transform

    def __call__(self, example, rng):
        element = self.transform(example, rng)
        if not isinstance(example, FailedClip):
            example = {k: v for k, v in example.items() if k != "audio"}
        return example, element


def _stream(source: CorpusSource, transform: ClipTransform, encoding: PrecomputeConfig):
    """All crops in order, first the first one of each clip; the draws depend on the seed alone."""
    examples = grain.MapDataset.source(ExampleSource(source)).seed(encoding.seed)
    return examples.random_map(_Draw(transform)).repeat(encoding.crops)


class _Machine:
    """The encoders, compiled for one batch, on all devices of this host."""

    def __init__(self, checkpoint: Checkpoint, encoding: PrecomputeConfig):
        self.config, self.encoding = checkpoint.config, encoding
        config, dtype = checkpoint.config, encoding.dtype
        devices = jax.local_devices()
        self.batch = -(-encoding.batch // len(devices)) * len(devices)
        mesh = jax.sharding.Mesh(np.array(devices), ("data",))
        everywhere, split = (
            jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))
            for axes in ((), ("data",))
        )
        self._place = functools.partial(jax.device_put, device=split)
        wanted = ("vae", "clap", "t5", "audiomae")
        params = {k: v for k, v in checkpoint.params.items() if k in wanted}
        self.params = jax.device_put(params, everywhere)
        self.transform = ClipTransform(
            encoding.seconds, config.vocoder.sample_rate, clap=config.has_audio_tower
        )
        names = {"clap": "tokenizer", "t5": "tokenizer_2"}
        limits = {"t5": encoding.text_length}
        if config.clap:
            limits["clap"] = config.clap.text.positions - 2
        self.tokens = {
            name: tokenise.from_tokenizer(checkpoint.tokenizers[tokenizer], min(limits[name], 512))
            for name, tokenizer in names.items()
            if getattr(config, name)
        }
        self._audio = jax.jit(lambda p, batch: encode_audio(p, batch, config, encoding.loa, dtype))
        self._texts = jax.jit(lambda p, batch: encode_texts(p, batch, config, dtype))

    def examples(self, stream, start: int, stop: int, report: Report) -> Iterator[dict]:
        """Encoded examples of a part; failures go into the report."""
        waiting, clips = [], len(stream) // self.encoding.crops
        part = stream[start:stop].to_iter_dataset(grain.ReadOptions(8, 2 * self.batch))
        for position, (example, element) in enumerate(part, start):
            crop = position // clips
            if isinstance(element, FailedClip):
                if not crop:
                    report.skip(element.name, element.reason)
            elif not crop or example["seconds"] > self.encoding.seconds:
                name = example["id"] + (f"#{crop + 1}".encode() if crop else b"")
                waiting.append((example | {"id": name}, element))
            if len(waiting) == self.batch:
                yield from self._encoded(waiting)
                waiting = []
        if waiting:
            yield from self._encoded(waiting)

    def _encoded(self, pairs) -> Iterator[dict]:
        keys = [k for k in ("waveform", "waveform_48k") if k in pairs[0][1]]
        batch = {k: self._padded([element[k] for _, element in pairs]) for k in keys}
        heard = jax.device_get(self._audio(self.params, batch))
        texts = [_captions(example) for example, _ in pairs]
        read = iter(self._read([text for group in texts for text in group]))
        for i, (example, element) in enumerate(pairs):
            found = {k: _half(k, v[i]) for k, v in heard.items()}
            states = [next(read) for _ in texts[i]]
            yield _plain(example, element, self.config) | found | _joined(states)

    def _padded(self, rows):
        rows = [*rows, *[np.zeros_like(rows[0])] * (self.batch - len(rows))]
        return self._place(np.stack(rows))

    def _read(self, texts) -> Iterator[dict]:
        """Each text's features, T5's states without padding."""
        if not self.tokens:
            yield from ({} for _ in texts)
            return
        for start in range(0, len(texts), self.batch):
            group, batch = texts[start : start + self.batch], {}
            for name, numbered in self.tokens.items():
                found, masks = zip(*map(numbered, group))
                # One of few lengths, so that few programs are compiled.
                longest = max(int(mask.sum()) for mask in masks)
                cut = next((n for n in (32, 64, 128, 256) if n >= longest), numbered.length)
                batch[f"{name}_tokens"] = self._padded([row[:cut] for row in found])
                batch[f"{name}_mask"] = self._padded([row[:cut] for row in masks])
            found = jax.device_get(self._texts(self.params, batch))
            for i in range(len(group)):
                row = {key: value[i] for key, value in found.items()}
                if "t5" in row:
                    row["t5"] = row["t5"][np.asarray(batch["t5_mask"][i])]
                yield row


def _captions(example) -> list[str]:
    """The captions, or the labels as one, as `ClipTransform` reads them."""
    texts = [caption.decode() for caption in example["captions"]]
    return texts or [", ".join(label.decode() for label in example["labels"])]


def _plain(example, element, config) -> dict:
    """What is kept as it was."""
    found = {key: example[key] for key in ("id", "transcript", "extra")}
    found |= {key: [text.decode() for text in example[key]] for key in ("captions", "labels")}
    return found | {"seconds": element["seconds"], "sample_rate": config.vocoder.sample_rate}


def _half(key, value):
    return value if key.startswith("clap") else value.astype(np.float16)


def _joined(states: list[dict]) -> dict:
    """Features of all captions of a clip."""
    found = {}
    if "clap_text" in states[0]:
        found["clap_text"] = np.stack([s["clap_text"] for s in states])
    if "t5" in states[0]:
        found["t5"] = np.concatenate([s["t5"] for s in states]).astype(np.float16)
        found["t5_lengths"] = np.array([len(s["t5"]) for s in states], np.int32)
    return found


def _fingerprint(params: dict) -> str:
    """Tells one checkpoint from another by a sample of each tensor."""
    found = hashlib.sha256()
    for path, value in sorted(tree.flatten(params).items()):
        sample = np.asarray(value.reshape(-1)[:64], np.float32)
        found.update(f"{path} {value.shape}".encode() + sample.tobytes())
    return found.hexdigest()[:16]
