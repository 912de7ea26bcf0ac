"""Training folders, values of configurations, half-built soundscapes."""

from __future__ import annotations

import os
import re
from pathlib import Path

import soundfile

from tests.fuzz import mutate
from tests.fuzz.law import command
from tests.fuzz.targets import Case, Target, anything
from tests.fuzz.targets.data import build_corpus

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "configs" / "audiomae.py"
SHORT = ("--config.steps=2", "--config.save_every=1", "--config.log_every=1")


def build_run(folder: Path) -> None:
    """`corpus`, and `run`, a run of two steps with a state after each."""
    from audioldm2_jax.cli.main import main

    build_corpus(folder / "corpus")
    arguments = (f"--config={CONFIG}:tiny", f"--workdir={folder / 'run'}", "-q", *SHORT)
    corpus = f"--config.data.sources={folder / 'corpus'}"
    assert main(["train", *arguments, corpus]) == 0


def damage_run(rng, folder: Path) -> str:
    return mutate.damage_tree(rng, folder / "run")


def export(case: Case):
    command("export", case.input / "run", case.output / "x")


def resume(case: Case):
    corpus = f"--config.data.sources={case.template / 'corpus'}"
    arguments = (f"--config={CONFIG}:tiny", f"--workdir={case.input / 'run'}", "-q", *SHORT)
    command("train", *arguments, corpus, "--config.steps=3")


def build_nothing(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "overrides.txt").write_bytes(b"")


def damage_overrides(rng, folder: Path) -> str:
    """One or two values of a configuration."""
    from audioldm2_jax.training.configuration import read_config

    names = list(_leaves(read_config(f"{CONFIG}:tiny", [])))
    lines = []
    for _ in range(rng.choice((1, 1, 2))):
        name, value = rng.choice(names), rng.choice(mutate.TEXTS)
        if rng.random() < 0.1:
            name = rng.choice((name + ".x", name + "x", "", ".", "optim", "x", "a\x1b", "_fields"))
        lines.append(f"--config.{name}={value}")
    text = "\0\0".join(lines)
    mutate.replace(folder / "overrides.txt", text.encode("utf-8", "surrogatepass"))
    return text[:200]


def _leaves(config, under=""):
    for name, value in config.items():
        if hasattr(value, "items"):
            yield from _leaves(value, f"{under}{name}.")
        else:
            yield under + name


def override(case: Case):
    """As `train` takes them, up to the first batch of data."""
    from audioldm2_jax.training.configuration import read_config
    from audioldm2_jax.training.run import open_batches, open_run

    corpus = f"--config.data.sources={case.template.parent / 'runs' / 'corpus'}"
    text = (case.input / "overrides.txt").read_bytes().decode("utf-8", "surrogatepass")
    given = [corpus, *re.split("\0\0", text)] if text else [corpus]
    os.chdir(ROOT)
    config = read_config(f"{CONFIG}:tiny", given)
    with open_batches(open_run(config)) as batches:
        next(batches)


def build_config_file(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mine.py").write_bytes(CONFIG.read_bytes())


def read_config_file(case: Case):
    from audioldm2_jax.training.configuration import read_config

    for path in sorted(case.input.iterdir()):
        read_config(f"{path}:{case.rng.choice(('tiny', 'base'))}", ["--config.steps=3"])


def build_scenes(folder: Path) -> None:
    """Five clips that are made, of twelve that are asked for."""
    from audioldm2_jax.cli.main import main

    folder.mkdir(parents=True, exist_ok=True)
    assert main(["soundscapes", str(folder / "s"), *SCENES, "--count", "5"]) == 0


SCENES = ("-dur", "0.5", "--workers", "1", "-q")


def more_scenes(case: Case):
    command("soundscapes", case.input / "s", *SCENES, "--count", 12)
    for path in (case.input / "s" / "audio").glob("*.flac"):
        assert soundfile.info(path).frames == 8000, path


TARGETS = [
    Target("runs", build_run, export, damage_run, anything, share=3),
    Target("resumed", build_run, resume, damage_run, limit=60, share=3, least=1),
    Target(
        "overrides",
        build_nothing,
        override,
        damage_overrides,
        limit=30,
        share=2,
        least=10,
        needs=("runs",),
    ),
    Target("config files", build_config_file, read_config_file),
    Target("scenes", build_scenes, more_scenes),
]
