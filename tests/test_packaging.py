"""Inference needs its own packages alone; the wheel trains and prepares from an empty folder."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from audioldm2_jax import extras
from audioldm2_jax.corpora import archives
from audioldm2_jax.data.untrained import write_random

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DISTRIBUTIONS = {"orbax": "orbax-checkpoint"}


def inference_packages() -> set[str]:
    """Normalised names of what the project requires without an extra, and of what that requires."""
    closure, left = set(), [*PROJECT["dependencies"]]
    while left:
        requirement = Requirement(left.pop())
        name = canonicalize_name(requirement.name)
        marker = requirement.marker
        if name in closure or (marker and not marker.evaluate({"extra": ""})):
            continue
        with suppress(metadata.PackageNotFoundError):
            left += metadata.requires(name) or []
            closure.add(name)
    return closure


def blocked_modules() -> list[str]:
    """Modules that are installed here and would not be beside inference alone."""
    required = inference_packages() | {"audioldm2-jax", "setuptools"}
    packages = metadata.packages_distributions().items()
    return sorted(m for m, owners in packages if not required & set(map(canonicalize_name, owners)))


BLOCKED = blocked_modules()
# What a process without these packages sees, before anything else is imported.
BLOCKER = f"""
import importlib.machinery as machinery
find = machinery.PathFinder.find_spec
def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] in {BLOCKED} else find(name, path, target)
machinery.PathFinder.find_spec = find_spec
from audioldm2_jax.checkpoints import prepared
from audioldm2_jax.pipelines import exported
prepared.MIN_BYTES = exported.MIN_BYTES = 0  # the caches of large models, for tiny ones too
from audioldm2_jax.cli.main import main
raise SystemExit(main())
"""


def names(requirements):
    return {re.split(r"[\[<>=]", line)[0].replace("-", "_").lower() for line in requirements}


def test_extras_are_those_of_the_project():
    for extra, modules in extras.MODULES.items():
        required = names(PROJECT["optional-dependencies"][extra])
        imported = names(DISTRIBUTIONS.get(name, name) for name in modules)
        assert imported <= required, extra
        assert not imported & names(PROJECT["dependencies"])


def without_extras(*arguments):
    """(exit code, stdout, stderr) of a command where the packages of the extras are missing."""
    command = [sys.executable, "-c", BLOCKER, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_generate_imports_no_extra(tmp_path):
    write_random(tmp_path / "tiny", "tiny")
    small = ("--steps", 2, "-dur", 0.64, "--pictures", "-q", "-d", "cpu")
    arguments = ("-t", "rain", "--model", tmp_path / "tiny", "-s", tmp_path / "out", *small)
    code, out, err = without_extras("generate", *arguments)
    assert code == 0 and out.strip() == str(tmp_path / "out" / "rain.wav"), err
    assert (tmp_path / "out" / "rain.png").is_file()


@pytest.mark.parametrize(
    "arguments",
    [("train", "--config=vae:tiny", "--workdir=x"), ("prepare", "in", "out", "--corpus", "clotho")],
    ids=["train", "prepare"],
)
def test_what_is_missing_is_one_line(arguments):
    code, out, err = without_extras(*arguments)
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert err.startswith("error: ") and err.endswith("pip install 'audioldm2-jax[train]'\n")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The wheel's files, built from what the checkout holds."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    files = subprocess.check_output(("git", "ls-files", "-z"), cwd=ROOT, text=True)
    for name in filter(None, files.split("\0")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            shutil.copy2(ROOT / name, source / name, follow_symlinks=False)
    command = (sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation")
    subprocess.run((*command, "-w", folder, source), check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.mark.slow
def test_the_wheel_holds_the_repositorys_folders(site):
    assert {path.name.partition("-")[0] for path in site.iterdir()} == {"audioldm2_jax"}
    for folder, package in (("configs", "configs"), ("data", "corpora")):
        for file in (ROOT / folder).rglob("*.py"):
            test = file.stem.endswith("_test") or file.name in ("conftest.py", "archives.py")
            installed = site / "audioldm2_jax" / package / file.relative_to(ROOT / folder)
            assert installed.is_file() != test, file


@pytest.mark.slow
def test_the_wheel_prepares_and_trains_in_an_empty_folder(site, tmp_path):
    def command(*arguments):
        line = [sys.executable, "-m", "audioldm2_jax", *arguments]
        environment = os.environ | {"PYTHONPATH": str(site)}
        done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    captions = ",".join(f"caption_{i}" for i in range(1, 6))
    table = f"file_name,{captions}\n" + "".join(f"{i}.wav,a,b,c,d,e\n" for i in range(8))
    sounds = {f"development/{i}.wav": archives.sound(i, seconds=1.5) for i in range(8)}
    archives.write(tmp_path / "downloads", {"clotho_captions_development.csv": table.encode()})
    archives.write_7z(tmp_path / "downloads" / "clotho_audio_development.7z", sounds)
    command("prepare", "downloads", "corpora/clotho", "--corpus", "clotho", "-q")
    values = ("--config.data.sources=corpora/clotho:development", "--config.steps=1", "-q")
    command("train", "--config=vae:tiny", "--workdir=run", *values)
    assert (tmp_path / "run" / "metrics.jsonl").is_file()
    code = "import audioldm2_jax; print(audioldm2_jax.__file__)"
    environment = os.environ | {"PYTHONPATH": str(site)}
    line = (sys.executable, "-c", code)
    printed = subprocess.check_output(line, cwd=tmp_path, env=environment, text=True)
    assert Path(printed.strip()).is_relative_to(site)
