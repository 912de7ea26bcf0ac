"""Turns an example of a prepared corpus into an element of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from audioldm2_jax.audio import resample
from audioldm2_jax.data.ingest.file_ref import Unreadable
from audioldm2_jax.data.loading import crops
from audioldm2_jax.data.loading.error_budget import FailedClip
from audioldm2_jax.data.loading.tokenise import TextTokeniser
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import ClapMelConfig


@dataclass(frozen=True)
class ClipTransform:
    """What a batch holds of each clip.

    seconds, sample_rate (Hz): of the waveform. clap: adds the waveform at 48 kHz for CLAP. tokens:
    tokenisers by name. classes: labels of the class vector. For precomputed corpora: text_length,
    the number of T5 states; loa, the poolings to read.
    """

    seconds: float = 10.24
    sample_rate: int = 16000
    clap: bool = False
    tokens: Mapping[str, TextTokeniser] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    text_length: int = 128
    loa: tuple[int, ...] = ()

    def __call__(self, example, rng: np.random.Generator):
        """Returns an element of the batch, or a FailedClip. Equal inputs give equal elements.

        id, caption (drawn from the clip's captions, else its labels), transcript: str. NAME_tokens,
        NAME_mask: [length]. labels: [classes]. Of audio: waveform [samples], waveform_48k, seconds
        without padding. Of precomputed clips: mean, logvar [T, F, C]; clap_audio, clap_text [D]; t5
        [L, D], t5_mask [L]; loa_POOLING [N, D].
        """
        if isinstance(example, FailedClip):
            return example
        name = example["id"].decode("utf-8", "backslashreplace")
        try:
            read = self._waveform if "audio" in example else self._precomputed
            texts, caption = self._texts(example, rng)
            return {"id": name, **texts, **read(example, caption, rng)}
        except InputError:
            raise
        except Unreadable as error:
            return FailedClip(name, str(error))
        except (ValueError, LookupError, TypeError, ArithmeticError, EOFError) as error:
            return FailedClip(name, f"damaged ({type(error).__name__}: {error})")

    def _texts(self, example, rng) -> tuple[dict, int]:
        """Returns texts and tokens, and the index of the drawn caption."""
        captions = example["captions"]
        drawn = int(rng.integers(len(captions))) if captions else 0
        labels = [label.decode() for label in example["labels"]]
        caption = captions[drawn].decode() if captions else ", ".join(labels)
        texts: dict = {"caption": caption, "transcript": example["transcript"].decode()}
        for name, tokenise in self.tokens.items():
            text = texts["transcript" if tokenise.spoken else "caption"]
            texts[f"{name}_tokens"], texts[f"{name}_mask"] = tokenise(text)
        if self.classes:
            texts["labels"] = np.array([c in labels for c in self.classes], np.float32)
        return texts, drawn

    def _waveform(self, example, _, rng) -> dict:
        wave, seconds = crops.training_clip(example["audio"], self.seconds, self.sample_rate, rng)
        arrays = {"waveform": wave, "seconds": np.float32(seconds)}
        if self.clap:
            arrays["waveform_48k"] = resample(wave, self.sample_rate, ClapMelConfig.sample_rate)
        return arrays

    def _precomputed(self, example, caption, _) -> dict:
        """The arrays that the corpus holds, in float32. caption: index of the drawn one."""
        names = ("mean", "logvar", "clap_audio", *(f"loa_{pool}" for pool in self.loa))
        arrays = {k: np.asarray(example[k], np.float32) for k in names if k in example}
        if len(example.get("clap_text", ())):
            arrays["clap_text"] = np.asarray(example["clap_text"][caption], np.float32)
        if "t5" in example:
            arrays["t5"], arrays["t5_mask"] = self._t5_states(example, caption)
        return arrays

    def _t5_states(self, example, caption):
        """(states [L, D], mask [L]) of one caption; the example holds all captions' in a row."""
        lengths = np.asarray(example["t5_lengths"], int)
        start, count = int(lengths[:caption].sum()), int(lengths[caption])
        states = example["t5"][start : start + min(count, self.text_length)]
        padded = np.zeros((self.text_length, example["t5"].shape[1]), np.float32)
        padded[: len(states)] = states
        return padded, np.arange(self.text_length) < len(states)
