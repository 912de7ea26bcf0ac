"""What is fuzzed: each target builds small valid input once, and runs damaged copies of it."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import mutate


@dataclass(frozen=True)
class Case:
    """One case: its own random numbers, the damaged input, a folder for what is written."""

    rng: random.Random
    input: Path
    output: Path
    template: Path


@dataclass(frozen=True)
class Target:
    """A kind of input.

    build(folder): writes valid input; damage(rng, folder) -> description; run(case): raises
    InputError for what is refused; finished(folder): names of what looks complete there; limit:
    seconds of a case; share: of the time of all; least: cases at least; memory: bytes of a case;
    needs: targets whose valid input is used too; valid: whether undamaged input has an answer.
    """

    name: str
    build: Callable[[Path], None]
    run: Callable[[Case], object]
    damage: Callable[[random.Random, Path], str] = mutate.damage_tree
    finished: Callable[[Path], list] = lambda folder: []
    limit: float = 20.0
    share: float = 1.0
    least: int = 5
    memory: int = 1 << 30
    needs: tuple[str, ...] = ()
    valid: bool = True


def copied(source: Path, target: Path) -> None:
    """A copy that shares the files' content with the source; damage replaces files."""
    shutil.copytree(source, target, copy_function=os.link, symlinks=True)


def anything(folder: Path) -> list:
    """For commands whose output appears whole or not at all."""
    return sorted(p.name for p in folder.iterdir())
