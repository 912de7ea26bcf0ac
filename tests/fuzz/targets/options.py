"""Every option of every command, with values of every type."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import stat
from pathlib import Path

from tests.fuzz import mutate
from tests.fuzz.law import command
from tests.fuzz.targets import Case, Target
from tests.fuzz.targets.data import corpus_ready
from tests.fuzz.targets.runs import CONFIG, ROOT

# A quick valid call of each command; {x} is a folder of other targets' input.
BASES = {
    "generate": "-t dog --model_name {models}/tiny -dur 0.5 --steps 1 -q -s out -gs 1",
    "convert": "{models}/tiny-audioldm out -q",
    "prepare": "{tables}/csv out -q --workers 1",
    "encode": "{corpora} out --model_name {models}/tiny-audioldm -dur 0.64 -b 2 -q",
    "soundscapes": "out --count 2 -dur 0.5 --workers 1 -q",
    "train": "--config {config}:tiny --workdir out -q --config.steps=1 "
    "--config.data.sources={corpora}",
    "export": "{runs}/run out",
    "rehearse": "--config {config}:tiny --topology x -q",
    "doctor": "--quick",
}
# Another machine's part of the matter, or minutes of honest work.
LEFT_OUT = {"gpu", "tpu", "nano", "/", "//", "~nobody/x", "..", "../..", "hf://a/b"}
# As root, a command may write anywhere.
_ABSOLUTE = [t for t in mutate.TEXTS if t.startswith("/")]


def build_options_of(name: str):
    """The words of the command, one a line."""

    def build(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(BASES[name].replace(" ", "\n\0"))

    return build


def damage_options_of(name: str):
    def damage(rng, folder: Path) -> str:
        words = (folder / name).read_text().split("\n\0")
        changes = [_change(rng, name, words) for _ in range(rng.choice((1, 1, 2)))]
        text = "\n\0".join(words).encode("utf-8", "surrogatepass")
        mutate.replace(folder / name, text)
        return f"{name}: {'; '.join(changes)}"

    return damage


def _change(rng, name, words) -> str:
    """Sets one option, or a positional word, to junk."""
    parser = argparse.ArgumentParser()
    importlib.import_module(f"audioldm2_jax.cli.{name}").add_arguments(parser)
    actions = [a for a in parser._actions if a.nargs != 0 and a.dest != "device"]
    action = rng.choice(actions)
    value = rng.choice([*mutate.TEXTS, *PLACES])
    reads = {"source", "model_name", "text_list", "lora", "tokenizers", "onto", "metadata"}
    if value in LEFT_OUT or (value in _ABSOLUTE and action.dest not in reads):
        value = rng.choice(PLACES)
    if action.option_strings:
        flag = rng.choice(action.option_strings)
        if flag.startswith("--"):
            words.append(f"{flag}={value}")
        else:
            words.extend((flag, value))
        return f"{flag} {value!r:.60}"
    positional = [a.dest for a in parser._actions if not a.option_strings]
    words[positional.index(action.dest)] = value
    return f"{action.dest} {value!r:.60}"


# In the folder where the command runs.
PLACES = (
    "file folder full-folder fifo null zero full loop dangling x.wav new.wav file/x out/x".split()
)


def _furnish(folder: Path) -> None:
    (folder / "file").write_text("a file")
    (folder / "folder").mkdir()
    (folder / "full-folder" / "x").mkdir(parents=True)
    (folder / "x.wav").mkdir()
    os.mkfifo(folder / "fifo")
    for name, minor in (("null", 3), ("zero", 5), ("full", 7)):
        with contextlib.suppress(OSError):
            os.mknod(folder / name, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("nowhere")


def run_options(case: Case):
    root, here = case.template.parent, case.output / "a" / "b" / "c"
    places = {name: root / name for name in ("models", "tables", "corpora", "runs")}
    here.mkdir(parents=True)
    _furnish(here)
    (path,) = case.input.iterdir()
    words = path.read_bytes().decode("utf-8", "surrogatepass").split("\n\0")
    filled = [_filled(word, places | {"config": CONFIG}) for word in words]
    os.chdir(here)
    try:
        command(path.name, *filled)
    finally:
        os.chdir(ROOT)


def _filled(word: str, places: dict) -> str:
    for name, path in places.items():
        word = word.replace("{" + name + "}", str(path))
    return word


def sound_or_corpus(folder: Path) -> list:
    results = [str(p) for p in folder.rglob("*.wav") if p.is_file()]
    return results + corpus_ready(folder) + [str(p) for p in folder.rglob("model_index.json")]


TARGETS = [
    Target(
        f"options of {name}",
        build_options_of(name),
        run_options,
        damage_options_of(name),
        sound_or_corpus,
        limit=60 if name in ("generate", "train", "encode", "export") else 30,
        least=1 if name in ("generate", "train", "encode") else 3,
        memory=2 << 30,
        needs=("models", "tables", "corpora", "runs"),
        valid=name != "rehearse",
    )
    for name in BASES
]
