"""An example of a prepared corpus to what a batch holds of it."""

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

CLAP_RATE = 48000


@dataclass(frozen=True)
class ClipTransform:
    """What is made of a clip.

    seconds, sample_rate: the waveform's; clap: whether it comes at 48 kHz too, for CLAP; tokens: by
    name; classes: labels that make a vector. Of encoded corpora: text_length, how many of T5's
    states are kept; loa, which poolings.
    """

    seconds: float = 10.24
    sample_rate: int = 16000
    clap: bool = False
    tokens: Mapping[str, TextTokeniser] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    text_length: int = 128
    loa: tuple[int, ...] = ()

    def __call__(self, example, rng: np.random.Generator):
        """An element of the batch, or a FailedClip; the same for the same example and generator.

        id, caption (one of the clip's, drawn; else its labels), transcript: str; NAME_tokens,
        NAME_mask: [length]; labels: [classes]. Of audio: waveform [samples], waveform_48k, seconds
        (of sound). Of encoded clips: mean, logvar [T, F, C]; clap_audio, clap_text [D]; t5 [L, D],
        t5_mask; loa_POOLING [N, D].
        """
        if isinstance(example, FailedClip):
            return example
        name = example["id"].decode("utf-8", "backslashreplace")
        try:
            make = self._waveform if "audio" in example else self._encoded
            texts, chosen = self._texts(example, rng)
            return {"id": name, **texts, **make(example, chosen, rng)}
        except InputError:
            raise
        except Unreadable as error:
            return FailedClip(name, str(error))
        except (ValueError, LookupError, TypeError, ArithmeticError, EOFError) as error:
            return FailedClip(name, f"damaged ({type(error).__name__}: {error})")

    def _texts(self, example, rng) -> tuple[dict, int]:
        """Texts and tokens, and which caption was drawn."""
        captions = example["captions"]
        chosen = int(rng.integers(len(captions))) if captions else 0
        labels = [label.decode() for label in example["labels"]]
        caption = captions[chosen].decode() if captions else ", ".join(labels)
        found = {"caption": caption, "transcript": example["transcript"].decode()}
        for name, tokens in self.tokens.items():
            text = found["transcript" if tokens.spoken else "caption"]
            found[f"{name}_tokens"], found[f"{name}_mask"] = tokens(text)
        if self.classes:
            found["labels"] = np.array([c in labels for c in self.classes], np.float32)
        return found, chosen

    def _waveform(self, example, _, rng) -> dict:
        wave, heard = crops.training_clip(example["audio"], self.seconds, self.sample_rate, rng)
        found = {"waveform": wave, "seconds": np.float32(heard)}
        if self.clap:
            found["waveform_48k"] = resample(wave, self.sample_rate, CLAP_RATE)
        return found

    def _encoded(self, example, chosen, _) -> dict:
        """Each array that the corpus holds."""
        kept = ("mean", "logvar", "clap_audio")
        found = {k: np.asarray(example[k], np.float32) for k in kept if k in example}
        if len(example.get("clap_text", ())):
            found["clap_text"] = np.asarray(example["clap_text"][chosen], np.float32)
        if "t5" in example:
            found["t5"], found["t5_mask"] = self._states(example, chosen)
        for name in (f"loa_{pool}" for pool in self.loa):
            if name in example:
                found[name] = np.asarray(example[name], np.float32)
        return found

    def _states(self, example, chosen):
        """T5's states of the drawn caption, which lie one caption after another."""
        lengths = np.asarray(example["t5_lengths"], int)
        start, count = int(lengths[:chosen].sum()), int(lengths[chosen])
        states = example["t5"][start : start + min(count, self.text_length)]
        padded = np.zeros((self.text_length, example["t5"].shape[1]), np.float32)
        padded[: len(states)] = states
        return padded, np.arange(self.text_length) < len(states)
