"""Transcriptions to phoneme ids, as in the training of AudioLDM 2's speech models.

Cleaning and symbols follow VITS (arXiv 2106.06103); phonemizer asks espeak-ng, whose library the
wheel `espeakng-loader` ships.
"""

from __future__ import annotations

import functools
import re
import threading
import warnings

from audioldm2_jax.errors import InputError

# VITS' table: padding, punctuation, letters, IPA; AudioLDM 2 adds five of its own.
SYMBOLS = (
    "_"
    ';:,.!?¡¿—…"«»“” '
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    "ɑɐɒæɓʙβɔɕçɗɖðʤəɘɚɛɜɝɞɟʄɡɠɢʛɦɧħɥʜɨɪʝɭɬɫɮʟɱɯɰŋɳɲɴøɵɸθœɶʘɹɺɾɻʀʁɽʂʃʈʧʉʊʋⱱʌɣɤʍχʎʏʑʐʒʔʡʕʢǀǁǂǃ"
    "ˈˌːˑʼʴʰʱʲʷˠˤ˞↓↑→↗↘'̩'ᵻ"
    "♪☎☒☝⚠"
)
STOP = len(SYMBOLS) - 1  # ⚠, behind the last phoneme
# An element's start or end, as GigaSpeech's <MUSIC> or <break time="1s"/>, against a < b > c.
_NAME = r"[A-Za-z][\w:.-]*"
_ATTRIBUTE = rf"""\s+{_NAME}\s*=\s*(?:"[^"<>]*"|'[^'<>]*'|[^\s"'<>]+)"""
_TAG = re.compile(rf"</?{_NAME}(?:{_ATTRIBUTE})*\s*/?>")
_ONE_AT_A_TIME = threading.Lock()
# The apostrophe is listed twice; the last entry counts.
_NUMBER = {symbol: number for number, symbol in enumerate(SYMBOLS)}

_ABBREVIATIONS = {
    "mrs": "misess",
    "mr": "mister",
    "dr": "doctor",
    "st": "saint",
    "co": "company",
    "jr": "junior",
    "maj": "major",
    "gen": "general",
    "drs": "doctors",
    "rev": "reverend",
    "lt": "lieutenant",
    "hon": "honorable",
    "sgt": "sergeant",
    "capt": "captain",
    "esq": "esquire",
    "ltd": "limited",
    "col": "colonel",
    "ft": "fort",
}


class NothingToSay(InputError):
    """A transcription that has no word to pronounce."""


def clean(text: str) -> str:
    """Lower-case ASCII without markup, with abbreviations expanded."""
    from unidecode import unidecode

    text = unidecode(_TAG.sub("", text)).lower()
    for short, long in _ABBREVIATIONS.items():
        text = re.sub(rf"\b{short}\.", long, text)
    return text


def phonemize(text: str) -> str:
    """A text in IPA with stress marks and punctuation, en-us.

    Raises NothingToSay for a text without words, and InputError if the extra `tts` is missing.
    """
    espeak = _espeak()
    # One line, since espeak-ng reads each line as a text. The lock: espeak-ng writes into one
    # buffer, and corpora are read by threads.
    with _ONE_AT_A_TIME:
        lines = espeak.phonemize([" ".join(clean(text).split())], strip=True)
    spoken = re.sub(r"\s+", " ", " ".join(lines))
    if not any(map(str.isalpha, spoken)):
        raise NothingToSay(f"transcription {text[:40]!r}: nothing in it is spoken; give words")
    return spoken


def check_spoken(text: str) -> None:
    """Raises NothingToSay for a text without words, and InputError if the extra is missing."""
    phonemize(text)


def to_ids(phonemes: str, length: int) -> list[int]:
    """Ids of the phonemes and the stop symbol, at most `length`.

    Longer texts are cut, without a stop symbol, as in training; a warning tells it. Unknown symbols
    are left out; the authors' code gives them the id of padding, which shortens the mask by one.
    """
    ids = [_NUMBER[symbol] for symbol in phonemes if symbol in _NUMBER] + [STOP]
    if unknown := sorted({symbol for symbol in phonemes if symbol not in _NUMBER}):
        warnings.warn(f"phonemes without a symbol are silent: {' '.join(unknown)}", stacklevel=2)
    if len(ids) > length:
        warnings.warn(
            f"only the first {length} of {len(ids) - 1} phonemes are spoken; split the text",
            stacklevel=2,
        )
    return ids[:length]


def vocabulary() -> dict[str, int]:
    """{symbol: id}, for a tokenizer's vocab.json."""
    return dict(_NUMBER)


def require_espeak() -> None:
    """Raises InputError if phonemizer or the library of espeak-ng is missing."""
    _espeak()


@functools.cache
def _espeak():
    import logging

    try:
        import espeakng_loader
        import unidecode  # noqa: F401
        from phonemizer.backend import EspeakBackend
        from phonemizer.backend.espeak.wrapper import EspeakWrapper
    except ImportError as error:
        raise InputError(
            f"speech needs the package {error.name}: pip install 'audioldm2-jax[tts]'"
        ) from None
    EspeakWrapper.set_library(espeakng_loader.get_library_path())
    EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
    quiet = logging.getLogger("audioldm2_jax.phonemizer")
    quiet.addHandler(logging.NullHandler())
    quiet.propagate = False
    return EspeakBackend("en-us", preserve_punctuation=True, with_stress=True, logger=quiet)
