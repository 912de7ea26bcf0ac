"""Each command that writes, at tiny size: its words, and what its output must not depend on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from audioldm2_jax.data.untrained import write_random
from tests.data.corpora import write_corpus
from tests.evaluation.clip_folders import write_classifier

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "audiomae.py"


def write_inputs(folder: Path) -> Path:
    """A model, sound, a corpus, and a training run of two steps."""
    from audioldm2_jax.cli.main import main

    write_random(folder / "model", "tiny-audioldm")
    (folder / "sound").mkdir()
    for i in range(40):
        wave = 0.3 * np.sin(np.arange(4000) * 0.01 * (i + 1))
        soundfile.write(folder / "sound" / f"{i:02d}.wav", wave, 16000)
        (folder / "sound" / f"{i:02d}.txt").write_text(f"tone {i}")
    write_corpus(folder / "corpus", 40)
    write_classifier(folder / "tagger")
    assert main(COMMANDS["train"].words(folder, folder / "run")) == 0
    return folder


@dataclass(frozen=True)
class Command:
    """words(inputs, target): as for `main`; content(target): what two runs must agree in."""

    words: Callable[[Path, Path], list[str]]
    content: Callable[[Path], dict]


def _words(text: str) -> Callable[[Path, Path], list[str]]:
    def words(inputs, target):
        places = {"i": inputs, "t": target, "config": CONFIG}
        return [word.format(**places) for word in text.split()]

    return words


def bytes_of(target: Path) -> dict:
    """Every file's bytes by name."""
    if target.is_file():
        return {"": target.read_bytes()}
    return {p.relative_to(target).as_posix(): p.read_bytes() for p in _files(target)}


def _files(target: Path) -> list[Path]:
    return sorted(p for p in target.rglob("*") if p.is_file())


def sound_of(target: Path) -> dict:
    """Samples of WAVs, names of all files."""
    return {p.name: p.read_bytes() if p.suffix == ".wav" else b"" for p in _files(target)}


def encoded_of(target: Path) -> dict:
    """Names, and the clips of the description: values may differ by rounding."""
    info = json.loads((target / "dataset_info.json").read_text())
    names = {p.relative_to(target).as_posix(): b"" for p in _files(target)}
    return names | {"splits": info["splits"]}


def trained_of(target: Path) -> dict:
    """Losses by step, and the steps with a state."""
    lines = map(json.loads, (target / "metrics.jsonl").read_text().splitlines())
    losses = {str(line["step"]): line["loss"] for line in lines if "loss" in line}
    states = sorted(p.name for p in (target / "checkpoints").iterdir())
    return losses | {"states": states}


def evaluated_of(target: Path) -> dict:
    """The result but for its date, and the names of the files beside it."""
    result = json.loads((target / "result.json").read_text())
    assert result.pop("date")
    return result | {"files": sorted(p.name for p in target.iterdir())}


COMMANDS = {
    "generate": Command(
        _words("generate -t dog --model_name {i}/model -s {t} -dur 0.5 --steps 1 -q --pictures"),
        sound_of,
    ),
    "convert": Command(_words("convert {i}/model {t} -q"), bytes_of),
    "prepare": Command(_words("prepare {i}/sound {t} --name x --workers 1 -q"), bytes_of),
    "soundscapes": Command(_words("soundscapes {t} --count 6 -dur 0.5 --workers 1 -q"), bytes_of),
    "encode": Command(
        _words("encode {i}/corpus {t} --model_name {i}/model -dur 0.64 -b 8 -q"), encoded_of
    ),
    "train": Command(
        _words(
            "train --config={config}:tiny --workdir={t} -q --config.steps=3 --config.save_every=1 "
            "--config.log_every=1 --config.data.sources={i}/corpus"
        ),
        trained_of,
    ),
    "export": Command(_words("export {i}/run {t}"), bytes_of),
    "evaluate": Command(
        _words(
            "evaluate {i}/sound {i}/corpus --weights classifier={i}/tagger --metrics FD,KAD,IS "
            "--bootstrap 3 --output {t} -q"
        ),
        evaluated_of,
    ),
}
