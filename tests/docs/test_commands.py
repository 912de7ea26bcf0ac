"""Every command that README and docs print runs, in their order; their Python compiles and runs."""

import ast
import importlib.util
import re
import shutil
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audioldm2_jax.checkpoints import hub
from audioldm2_jax.cli.main import build_parser, main
from audioldm2_jax.corpora import archives
from audioldm2_jax.data.untrained import random_checkpoint
from audioldm2_jax.presets import PRESETS
from audioldm2_jax.training.base_checkpoint import with_audiomae
from tests.data.corpora import write_corpus
from tests.docs.commands import ASSIGNMENT, DOCUMENTS, PARSED, ROOT, Line, blocks, lines, tiny
from tests.training.stages_of import one_level

sys.path.insert(0, str(ROOT / "tests" / "checkpoints"))
from test_authors import tensors_of

AUTHORS = {"audioldm_48k.pth": "audioldm-48k", "audioldm2-full.pth": "audioldm2"}
LINES = [line for document in DOCUMENTS for line in lines(document)]
RUN = [d for d in DOCUMENTS if any(line.words[0] == "audioldm2-jax" for line in lines(d))]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Tiny checkpoints in place of the published ones, and one with AudioMAE beside."""
    folder = tmp_path_factory.mktemp("docs-models")
    for preset in ("tiny", "tiny-audioldm", "tiny-speech"):
        hub.save(random_checkpoint(one_level(PRESETS[preset]())), folder / preset)
    hub.save(random_checkpoint(with_audiomae(one_level(PRESETS["tiny"]()))), folder / "start")
    write_authors(folder)
    return folder


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """What training reads beside the corpora that the commands make."""
    folder = tmp_path_factory.mktemp("docs-corpora")
    for name in ("audiocaps", "wavcaps"):
        write_corpus(folder / name, 4, seconds=1.5)
    return folder


@pytest.fixture
def place(tmp_path, models, corpora, monkeypatch):
    """A folder with all that the documents name: sounds, lists, checkpoints, the checkout's."""
    for name in ("configs", "data", "benchmarks"):
        (tmp_path / name).symlink_to(ROOT / name)
    for model in models.iterdir():
        (tmp_path / model.name).symlink_to(model)
    (tmp_path / "corpora").mkdir()
    for corpus in corpora.iterdir():
        if not corpus.name.endswith("-raw"):
            (tmp_path / "corpora" / corpus.name).symlink_to(corpus)
    write_sounds(tmp_path / "my_sounds", 14)
    write_clotho(tmp_path / "downloads")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "prompts.txt").write_text("rain on a roof|rain\na dog barks|dog\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_sounds(folder: Path, count: int) -> None:
    """A person's folder: recordings, each with a text beside it."""
    folder.mkdir()
    for i in range(count):
        wave = 0.3 * np.sin(2 * np.pi * (200 + 50 * i) * np.arange(24000) / 16000)
        soundfile.write(folder / f"sound {i}.wav", wave, 16000)
        (folder / f"sound {i}.txt").write_text(f"a tone, number {i}\n")


def write_clotho(folder: Path) -> None:
    """Two splits of a clip as Clotho publishes them."""
    header = "file_name," + ",".join(f"caption_{i}" for i in range(1, 6)) + "\n"
    for split in ("development", "evaluation"):
        table = header + "rain.wav,a,b,c,d,e\n"
        archives.write(folder, {f"clotho_captions_{split}.csv": table.encode()})
        files = {f"{split}/rain.wav": archives.sound(1, rate=16000)}
        archives.write_7z(folder / f"clotho_audio_{split}.7z", files)


def write_authors(folder: Path) -> None:
    """Small files in the form in which the authors publish theirs."""
    for name, model in AUTHORS.items():
        torch.save({"state_dict": tensors_of(model)}, folder / name)


@pytest.mark.slow
@pytest.mark.parametrize("document", RUN, ids=lambda path: path.name)
def test_every_command_runs(document, place, capsys):
    done = []
    for line in lines(document):
        if line.words[0] != "audioldm2-jax":
            continue
        run(line, capsys, done)


def run(line: Line, capsys, done: list) -> None:
    """Runs a command where it is new; tells it as it is printed if it fails."""
    arguments = tiny(line.words)
    if arguments[0] in PARSED:
        build_parser().parse_known_args(arguments)
        return
    if arguments[0] == "prepare" and Path(arguments[2]).exists():
        shutil.rmtree(arguments[2])
    if arguments in done:
        return
    done.append(arguments)
    code = main(arguments)
    if arguments[0] == "convert":
        # Parts of the shrunk file do not fit each other, which the true one's do.
        shutil.rmtree(arguments[2])
        Path(arguments[2]).symlink_to(Path("start").resolve())
    stderr = capsys.readouterr().err
    assert code == 0, (
        f"{line}\nrun as: audioldm2-jax {' '.join(arguments)}\n{stderr}\n"
        "Mend the document, or what stands in for it in tests/docs/commands.py."
    )


@pytest.mark.parametrize("line", LINES, ids=str)
def test_what_a_command_names_is_there(line):
    """Sub-commands, options, files, modules and targets of the Makefile."""
    program, *rest = line.words
    while ASSIGNMENT.fullmatch(program):
        program, *rest = rest
    if program == "audioldm2-jax":
        build_parser().parse_known_args(tiny(line.words))
    elif program == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(rest) <= set(targets), f"{line}: the Makefile has {' '.join(targets)}"
    elif program in ("python", "python3") and rest[0] == "-m":
        assert importlib.util.find_spec(rest[1]), f"{line}: no such module"
    elif program in ("python", "python3"):
        assert (ROOT / rest[0]).is_file(), f"{line}: no such file"
    elif program == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        extras = project["optional-dependencies"]
        requested = [x for word in rest for x in re.findall(r"\[(.*?)\]", word)]
        assert set(",".join(requested).split(",")) - {""} <= set(extras), f"{line}: no such extra"
    else:
        assert shutil.which(program), f"{line}: no such program"


PYTHON = [(d, first, text) for d in DOCUMENTS for first, text in blocks(d, "python")]


@pytest.mark.parametrize(
    ("document", "first", "text"), PYTHON, ids=lambda x: getattr(x, "name", "")
)
def test_python_compiles_and_its_imports_are_there(document, first, text):
    where = f"{document.name}:{first}"
    compile(text, where, "exec")
    imports = [x for x in ast.parse(text).body if isinstance(x, (ast.Import, ast.ImportFrom))]
    exec(compile(ast.Module(imports, []), where, "exec"), {})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["README.md", "soundscapes.md"])
def test_python_runs(name, place, models):
    """Blocks that need no more than a checkpoint."""
    document = next(d for d in DOCUMENTS if d.name == name)
    for first, text in blocks(document, "python"):
        text = re.sub(r'"cvssp/[\w-]+"', f'"{models / "tiny"}"', text)
        text = text.replace("seconds=10", "seconds=0.64").replace("steps=25", "steps=1")
        exec(compile(text, f"{name}:{first}", "exec"), {"__name__": "document"})
