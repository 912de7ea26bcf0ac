"""Unknown words are said in one line, once for a request."""

import functools
import warnings

import pytest

from audioldm2_jax.checkpoints import download, hub
from audioldm2_jax.data.soundscapes.scene import SOUND_CLASSES
from audioldm2_jax.data.untrained import random_checkpoint
from audioldm2_jax.errors import InputError
from audioldm2_jax.pipelines.request import VOICE, ClipRequest
from audioldm2_jax.pipelines.text import tokenise
from audioldm2_jax.pipelines.vocabulary import bundled_words, check_words
from audioldm2_jax.presets import CONVENTIONS, PRESETS

AUTHORS = CONVENTIONS["authors"]


@functools.cache
def bundled(name):
    loaded = hub.load(download.locate(name), only=())
    words = bundled_words(loaded.tokenizers, loaded.config)
    return loaded.tokenizers, loaded.config, {"model": name, "words": words}


@functools.cache
def tiny(preset):
    loaded = random_checkpoint(PRESETS[preset]())
    return loaded.tokenizers, loaded.config, {}


def warning_of(model, *prompts, negatives=()):
    tokenizers, config, about = model
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_words(list(prompts), list(negatives), tokenizers, config, **about)
    assert len(caught) <= 1
    return str(caught[0].message) if caught else ""


@pytest.mark.parametrize(
    "prompt, unknown",
    [
        ("a lion roars", "lion, roars"),
        ("a dog barks loudly", "loudly"),
        ("Siren", "Siren (known as siren)"),
        ("\U0001f415 dog bark", "\U0001f415"),
        ("caf\u00e9 noise", "caf\u00e9"),
    ],
)
def test_words_that_nano_does_not_know(prompt, unknown):
    line = warning_of(bundled("nano"), prompt)
    assert line.startswith(f"unknown words: {unknown}; nano knows the sounds of `soundscapes")


def test_words_that_nano_knows():
    captions = [f"{sound.noun}, then {sound.plural}" for sound in SOUND_CLASSES.values()]
    captions += ["the sound of a piano note on F#4, in a large hall.", "a low-pitched siren"]
    assert warning_of(bundled("nano"), *captions) == ""


def test_one_line_for_all_prompts():
    line = warning_of(bundled("nano"), "a lion", "a lion and a tiger", negatives=["opera"])
    assert line.startswith("unknown words: lion, and, tiger, opera;")


def test_voices():
    assert warning_of(bundled("nano-speech"), "A woman speaks slowly in a low voice.", VOICE) == ""
    assert "unknown words: robot" in warning_of(bundled("nano-speech"), "a robot speaks")


@pytest.mark.parametrize("preset", ["tiny", "tiny-t5"])
def test_scripts_that_the_tokenizer_does_not_know(preset):
    assert warning_of(tiny(preset), "a dog barks") == ""
    line = warning_of(tiny(preset), "a \u72ee\u5b50 roars")
    assert line == "unknown words: \u72ee\u5b50; the model reads English"
    with pytest.raises(InputError, match="prompt 2 of 2: .* knows none of its words") as caught:
        warning_of(tiny(preset), "a dog", "\u72ee\u5b50 \u0440\u0451\u0432")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("preset", ["tiny-audioldm", "tiny-speech"])
def test_bytes_are_read_but_scarcely_understood(preset):
    assert "unknown words: \u72ee\u5b50" in warning_of(tiny(preset), "\u72ee\u5b50")
    assert warning_of(tiny(preset), "un \u00e9l\u00e9phant") == ""


@pytest.mark.parametrize(
    "preset, prompt, negative",
    [
        ("tiny-audioldm", "rain " * 600, ""),
        ("tiny-audioldm", "rain", "wind " * 600),
        ("tiny", "rain", "wind " * 600),
        ("tiny-t5", "rain " * 600, ""),
    ],
)
def test_texts_that_are_cut_are_told(preset, prompt, negative):
    checkpoint = random_checkpoint(PRESETS[preset]())

    def cut(prompt, negative):
        request = ClipRequest(prompt, negative, guidance=2.0)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            tokenise([request], checkpoint.tokenizers, checkpoint.config, AUTHORS)
        return [str(w.message) for w in caught if "only the first" in str(w.message)]

    assert cut(prompt, negative)
    assert not cut("rain", "")
