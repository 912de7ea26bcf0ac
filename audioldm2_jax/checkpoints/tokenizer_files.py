"""Tokenizers' folders as transformers saves them, and the tokenizer of phonemes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from audioldm2_jax import files, phonemes
from audioldm2_jax.errors import InputError

_LONGEST = 1 << 20


def read_tokenizer(folder: Path):
    """A tokenizer as transformers saves it; nothing is fetched and no code of the folder runs.

    Raises InputError if it does not load.
    """
    from transformers import AutoTokenizer

    if not folder.is_dir():
        raise InputError(
            f"{folder}: missing; the checkpoint is incomplete (a tokenizer of the same kind can be "
            "copied there from another one)"
        )
    for path in sorted(folder.glob("*.json")):
        files.read_json(path, (dict, list))
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # transformers raises many kinds; tokenizers' own panics are no
        # Exception
        line = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise InputError(f"{folder}: the tokenizer does not load ({line})") from None
    length = tokenizer.model_max_length
    if type(length) is not int or length < 1:
        raise InputError(
            f"{folder}: model_max_length in tokenizer_config.json is {length!r}; an integer of at "
            "least 1 is expected"
        )
    number = max(tokenizer.get_vocab().values(), default=0)
    if number >= _LONGEST:  # arrays of 32 bits would not hold it, and no embedding has such rows
        raise InputError(f"{folder}: a token has number {number}; below {_LONGEST} is expected")
    # Without one transformers has 1e30, which its own truncation does not take.
    tokenizer.model_max_length = min(length, _LONGEST)
    return tokenizer


def write_tokenizer(tokenizer, folder: Path) -> None:
    """Saves a tokenizer as transformers does. Raises InputError if the folder cannot be written."""
    try:
        tokenizer.save_pretrained(folder)
    except OSError as error:
        raise files.cannot(folder, "write", error) from None
    except Exception as error:  # the library of tokenizers has no other kind for a full disk
        raise InputError(f"{folder}: cannot write the tokenizer ({error})") from None


def phoneme_tokenizer(length: int):
    """transformers' VitsTokenizer over the training's symbol table. length: the most phonemes."""
    from transformers import VitsTokenizer

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.json"
        files.write_json(path, phonemes.vocabulary())
        return VitsTokenizer(
            str(path),
            pad_token=phonemes.SYMBOLS[0],
            unk_token=phonemes.SYMBOLS[0],
            language="en-us",
            add_blank=False,
            normalize=True,
            phonemize=True,
            model_max_length=length,
        )
