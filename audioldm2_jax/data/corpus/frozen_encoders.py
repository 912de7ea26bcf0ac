"""The frozen encoders, compiled for one batch size, over the clips of a corpus."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax.checkpoints.hub import Checkpoint
from audioldm2_jax.data.ingest.report import Report
from audioldm2_jax.data.loading import tokenise
from audioldm2_jax.data.loading.error_budget import FailedClip
from audioldm2_jax.data.loading.transforms import ClipTransform
from audioldm2_jax.encoders.corpus import encode_audio, encode_texts

# Texts are padded to one of few lengths, so that few programs are compiled.
_TEXT_LENGTHS = (32, 64, 128, 256)


@dataclass(frozen=True)
class PrecomputeConfig:
    """What is precomputed of each clip.

    seconds: length of a crop. crops: random crops of each clip longer than `seconds`; shorter clips
    have one. loa: poolings of the LOA. text_length: T5 tokens at most. batch: clips encoded at
    once. dtype: of the computation.
    """

    seconds: float = 10.24
    crops: int = 1
    loa: tuple[int, ...] = ()
    text_length: int = 128
    batch: int = 8
    seed: int = 0
    dtype: Any = jnp.float32


class FrozenEncoders:
    """A checkpoint's encoders on all devices of this host.

    transform: reads the audio that they need. `examples` encodes a range of a stream.
    """

    def __init__(self, checkpoint: Checkpoint, config: PrecomputeConfig):
        model = checkpoint.config
        self.model, self.config = model, config
        devices = jax.local_devices()
        self.batch = -(-config.batch // len(devices)) * len(devices)
        mesh = jax.sharding.Mesh(np.array(devices), ("data",))
        replicated, sharded = (
            jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))
            for axes in ((), ("data",))
        )
        self._place = functools.partial(jax.device_put, device=sharded)
        parts = ("vae", "clap", "t5", "audiomae")
        params = {k: v for k, v in checkpoint.params.items() if k in parts}
        self.params = jax.device_put(params, replicated)
        self.transform = ClipTransform(
            config.seconds, model.vocoder.sample_rate, clap=model.has_audio_tower
        )
        self.tokenisers = _tokenisers(checkpoint, config)
        self._audio = jax.jit(
            lambda params, batch: encode_audio(params, batch, model, config.loa, config.dtype)
        )
        self._texts = jax.jit(
            lambda params, batch: encode_texts(params, batch, model, config.dtype)
        )

    def examples(self, stream, start: int, stop: int, report: Report) -> Iterator[dict]:
        """Yields the encoded examples of `stream[start:stop]`.

        stream: pairs (example, element); the first crops of all clips come before the second ones.
        report: receives the clips that fail.
        """
        pending, clips = [], len(stream) // self.config.crops
        pairs = stream[start:stop].to_iter_dataset(grain.ReadOptions(8, 2 * self.batch))
        for position, (example, element) in enumerate(pairs, start):
            crop = position // clips
            if isinstance(element, FailedClip):
                if not crop:
                    report.skip(element.name, element.reason)
            elif not crop or example["seconds"] > self.config.seconds:
                name = example["id"] + (f"#{crop + 1}".encode() if crop else b"")
                pending.append((example | {"id": name}, element))
            if len(pending) == self.batch:
                yield from self._encode(pending)
                pending = []
        if pending:
            yield from self._encode(pending)

    def _encode(self, pairs) -> Iterator[dict]:
        keys = [k for k in ("waveform", "waveform_48k") if k in pairs[0][1]]
        batch = {k: self._padded([element[k] for _, element in pairs]) for k in keys}
        audio = jax.device_get(self._audio(self.params, batch))
        captions = [_captions(example) for example, _ in pairs]
        features = iter(self._text_features([text for group in captions for text in group]))
        for i, (example, element) in enumerate(pairs):
            arrays = {k: _storage_dtype(k, v[i]) for k, v in audio.items()}
            texts = [next(features) for _ in captions[i]]
            fields = _fields(example, element, self.model.vocoder.sample_rate)
            yield fields | arrays | _stack_captions(texts)

    def _padded(self, rows):
        rows = [*rows, *[np.zeros_like(rows[0])] * (self.batch - len(rows))]
        return self._place(np.stack(rows))

    def _text_features(self, texts) -> Iterator[dict]:
        """Yields each text's CLAP features and T5 states, without padding."""
        if not self.tokenisers:
            yield from ({} for _ in texts)
            return
        for start in range(0, len(texts), self.batch):
            group, batch = texts[start : start + self.batch], {}
            for name, tokeniser in self.tokenisers.items():
                tokens, masks = zip(*map(tokeniser, group))
                longest = max(int(mask.sum()) for mask in masks)
                length = next((n for n in _TEXT_LENGTHS if n >= longest), tokeniser.length)
                batch[f"{name}_tokens"] = self._padded([row[:length] for row in tokens])
                batch[f"{name}_mask"] = self._padded([row[:length] for row in masks])
            features = jax.device_get(self._texts(self.params, batch))
            for i in range(len(group)):
                row = {key: value[i] for key, value in features.items()}
                if "t5" in row:
                    row["t5"] = row["t5"][np.asarray(batch["t5_mask"][i])]
                yield row


def _tokenisers(checkpoint: Checkpoint, config: PrecomputeConfig) -> dict:
    """The model's tokenisers of captions by encoder."""
    model = checkpoint.config
    tokenisers = {}
    if model.clap:
        length = min(model.clap.text.positions - 2, 512)
        tokenisers["clap"] = tokenise.from_tokenizer(checkpoint.tokenizers["tokenizer"], length)
    if model.t5:
        length = min(config.text_length, 512)
        tokenisers["t5"] = tokenise.from_tokenizer(checkpoint.tokenizers["tokenizer_2"], length)
    return tokenisers


def _captions(example) -> list[str]:
    """The captions, or the labels as one caption, as `ClipTransform` reads them."""
    texts = [caption.decode() for caption in example["captions"]]
    return texts or [", ".join(label.decode() for label in example["labels"])]


def _fields(example, element, sample_rate: int) -> dict:
    """The fields that the precomputed example copies."""
    fields = {key: example[key] for key in ("id", "transcript", "extra")}
    fields |= {key: [text.decode() for text in example[key]] for key in ("captions", "labels")}
    return fields | {"seconds": element["seconds"], "sample_rate": sample_rate}


def _storage_dtype(key, value):
    return value if key.startswith("clap") else value.astype(np.float16)


def _stack_captions(texts: list[dict]) -> dict:
    """The features of all captions of a clip."""
    arrays = {}
    if "clap_text" in texts[0]:
        arrays["clap_text"] = np.stack([text["clap_text"] for text in texts])
    if "t5" in texts[0]:
        arrays["t5"] = np.concatenate([text["t5"] for text in texts]).astype(np.float16)
        arrays["t5_lengths"] = np.array([len(text["t5"]) for text in texts], np.int32)
    return arrays
