"""Prompts, lists of prompts, transcriptions: what a model reads."""

from __future__ import annotations

import functools
from pathlib import Path

from tests.fuzz import mutate
from tests.fuzz.law import command
from tests.fuzz.targets import Case, Target

LISTS = ("a dog barks|dog\nrain | rain.wav\n\nwind|wind\n", "one\ntwo\nthree\n", "\ufeffa|b\r\nc|d")


def build_lists(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, text in enumerate(LISTS):
        (folder / f"{i}.txt").write_text(text)


def damage_list(rng, folder: Path) -> str:
    """One list: its bytes, or a prompt or name that is odd."""
    path = rng.choice(sorted(folder.iterdir()))
    for other in folder.iterdir():
        if other != path:
            other.unlink()
    if rng.random() < 0.4:
        return mutate.damage_tree(rng, folder)
    odd = rng.choice(mutate.TEXTS)
    lines = path.read_text().split("\n")
    at = rng.randrange(len(lines))
    prompt, _bar, name = lines[at].partition("|")
    lines[at] = rng.choice((odd, f"{odd}|{name}", f"{prompt}|{odd}", f"{odd}|{odd}"))
    mutate.replace(path, "\n".join(lines).encode("utf-8", "surrogatepass"))
    return f"line {at + 1}: {lines[at]!r:.60}"


def read_list(case: Case):
    """The lists' prompts and the files that they would become, without a model."""
    from audioldm2_jax.cli import prompts

    for path in case.input.iterdir():
        prompts.read_list(str(path))


@functools.cache
def _pipeline(folder: Path):
    from audioldm2_jax import Pipeline

    return Pipeline.from_pretrained(folder, progress=False)


def generate_list(case: Case):
    """The whole command, with the model loaded once."""
    import pytest

    from audioldm2_jax.pipelines import text_to_audio

    pipe = _pipeline(case.template.parent / "models" / "tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_to_audio.Pipeline, "from_opened", lambda *a, **k: pipe)
        for path in sorted(case.input.iterdir()):
            common = ("-dur", "0.5", "--steps", "1", "-gs", "1", "-q", "-b", "4")
            model = ("--model_name", case.template.parent / "models" / "tiny")
            command("generate", "-tl", path, "-s", case.output, *model, *common)


def build_texts(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "text.txt").write_text("hello you there")


def damage_text(rng, folder: Path) -> str:
    pieces = rng.choices([*mutate.TEXTS, "hello you", "Dr. Smith's 3rd", "<MUSIC>", "(x)"], k=2)
    text = rng.choice(("", " ", "-", "|")).join(pieces[: rng.choice((1, 1, 2))])
    mutate.replace(folder / "text.txt", text.encode("utf-8", "surrogatepass"))
    return repr(text[:60])


def speak(case: Case):
    """Prompt, negative prompt, transcription, one of them odd."""
    odd = (case.input / "text.txt").read_bytes().decode("utf-8", "surrogatepass")
    kind = case.rng.choice(("prompt", "negative_prompt", "transcription", "all"))
    model = "tiny-speech" if kind == "transcription" else "tiny"
    pipe = _pipeline(case.template.parent / "models" / model)
    fields = {"prompt": "a man", "seconds": 0.5, "steps": 1, "progress": False}
    fields |= {"transcription": "hello"} if model == "tiny-speech" else {}
    fields |= {"prompt": odd, "negative_prompt": odd} if kind == "all" else {kind: odd}
    pipe(**fields).save(case.output)


def transcribe(case: Case):
    """Phonemes as training reads them: any text is numbered or refused."""
    from audioldm2_jax.data.ingest.file_ref import Unreadable
    from audioldm2_jax.data.loading import tokenise
    from audioldm2_jax.errors import InputError

    odd = (case.input / "text.txt").read_bytes().decode("utf-8", "surrogatepass")
    try:
        tokenise.from_phonemes(64)(odd)
    except Unreadable as error:  # which the tolerance of training counts
        raise InputError(str(error)) from None


TARGETS = [
    Target("lists", build_lists, read_list, damage_list, least=20),
    Target(
        "generated lists",
        build_lists,
        generate_list,
        damage_list,
        limit=60,
        share=3,
        least=1,
        needs=("models",),
    ),
    Target(
        "texts",
        build_texts,
        speak,
        damage_text,
        limit=60,
        share=3,
        least=1,
        needs=("models",),
    ),
    Target("transcripts", build_texts, transcribe, damage_text, least=10),
]
