"""Transcriptions become the numbers that the speech models were trained on."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from audioldm2_jax import phonemes
from audioldm2_jax.errors import InputError

# Recorded from the authors' text cleaner and symbol table, padding left out.
RECORDED = {
    "The cat sat on the mat.": (
        "81 83 16 53 156 72 62 16 61 156 72 62 16 76 56 81 83 16 55 156 72 62 4 182"
    ),
    "Dr. Smith's naïve “café”—$3.50!": (
        "46 156 69 158 53 62 85 16 61 55 156 102 119 68 16 56 43 102 156 51 158 64 16 11 53 156 72 "
        "48 47 102 11 46 156 69 158 54 85 16 119 123 156 51 158 16 58 76 102 56 62 16 48 156 43 "
        "102 64 16 68 156 51 83 123 57 135 5 182"
    ),
    "What's up? I'm here; rock 'n' roll": (
        "65 157 138 62 61 16 156 138 58 6 16 43 102 55 16 50 156 102 123 1 16 123 156 69 158 53 16 "
        "156 86 56 16 123 156 57 135 54 182"
    ),
}


def test_the_table():
    """VITS' 178 symbols and five more; the apostrophe stands twice."""
    assert len(phonemes.SYMBOLS) == 183 and phonemes.STOP == 182
    assert phonemes.SYMBOLS[0] == "_" and phonemes.SYMBOLS[16] == " "
    assert len(phonemes.vocabulary()) == 182
    assert max(phonemes.vocabulary().values()) == 182


@pytest.mark.parametrize("text, ids", RECORDED.items())
def test_ids(text, ids):
    result = phonemes.to_ids(phonemes.phonemize(text), 310)
    assert result == [int(number) for number in ids.split()]


def test_threads():
    """Corpora are read by several threads; espeak-ng itself is for one."""
    texts = [f"the {word} cat has {i} lives" for i in range(50) for word in ("red", "old")]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(phonemes.phonemize, texts)) == list(map(phonemes.phonemize, texts))


@pytest.mark.parametrize(
    "text, cleaned",
    [
        ("Mr. Naïve & Mrs. O'Neil", "mister naive & misess o'neil"),
        ("“Quoted” — dash…", '"quoted" -- dash...'),
        ("<speak>bold</speak> move", "bold move"),
        ('<break time="1s"/>go <MUSIC>on<COMMA>', "go on"),
        ("a < b > c", "a < b > c"),
        ("if x<y and y>z", "if x<y and y>z"),
        ("i <3 you", "i <3 you"),
        ("Acme Co. Ltd., St. Paul", "acme company limited, saint paul"),
    ],
)
def test_cleaning(text, cleaned):
    assert phonemes.clean(text) == cleaned


@pytest.mark.parametrize(
    "text", ["\U0001f415", "<MUSIC>", "-", "\u2014", "!!!", "(", "<b></b>", "..."]
)
def test_nothing_to_say(text):
    with pytest.raises(phonemes.NothingToSay, match="nothing in it is spoken") as caught:
        phonemes.check_spoken(text)
    assert isinstance(caught.value, InputError) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["$", "a", "5", "you\nand me", "a < b", "\u4f60\u597d"])
def test_something_to_say(text):
    assert "\n" not in phonemes.phonemize(text)
    phonemes.check_spoken(text)


def test_what_stands_between_angles_is_spoken():
    assert phonemes.phonemize("a < b > c") == phonemes.phonemize("a b c")


def test_too_long_is_cut_and_said():
    with pytest.warns(UserWarning, match="only the first 10 of 19 phonemes are spoken"):
        ids = phonemes.to_ids("ðə kˈæt sˈæt ɔn ðəm", 10)
    assert len(ids) == 10 and phonemes.STOP not in ids


def test_unknown_symbols_are_left_out():
    with pytest.warns(UserWarning, match="without a symbol are silent: §"):
        assert phonemes.to_ids("a§b", 310) == phonemes.to_ids("ab", 310)


@pytest.mark.parametrize("package", ["phonemizer", "espeakng_loader", "unidecode"])
def test_without_the_extra(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    if package == "phonemizer":
        monkeypatch.setitem(sys.modules, "phonemizer.backend", None)
    phonemes._espeak.cache_clear()
    with pytest.raises(InputError, match=r"pip install 'audioldm2-jax\[tts\]'") as caught:
        phonemes.require_espeak()
    assert "\n" not in str(caught.value)
    phonemes._espeak.cache_clear()
