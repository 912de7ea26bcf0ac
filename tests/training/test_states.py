"""Saved states: damage of any file is named with what to do; a run told to end keeps its state."""

import errno
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from audioldm2_jax.cli.main import main
from audioldm2_jax.data.corpus.prepare import prepare
from audioldm2_jax.data.ingest.clip_record import ClipRecord
from audioldm2_jax.data.ingest.file_ref import FileRef
from audioldm2_jax.data.ingest.report import Report
from audioldm2_jax.errors import InputError
from audioldm2_jax.training import states
from audioldm2_jax.training.board import Board
from audioldm2_jax.training.configuration import read_config
from audioldm2_jax.training.export import read_run
from audioldm2_jax.training.loop import train
from audioldm2_jax.training.remarks import check_texts
from audioldm2_jax.training.run import open_batches, open_run
from audioldm2_jax.training.state import state_shapes, state_shardings
from audioldm2_jax.training.states import SavedStates
from audioldm2_jax.training.stopping import Stopping
from tests.data.corpora import tone, write_corpus

ROOT = Path(__file__).parent.parent.parent
FILE = "configs/panns.py:tiny"


@pytest.fixture(autouse=True)
def root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("states") / "tones", 8, seconds=1.5)


def config(corpus, *values):
    values = (f"data.sources={corpus}", "steps=4", "save_every=2", "log_every=1", *values)
    return read_config(FILE, [f"--config.{value}" for value in values])


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
    """A run with states of steps 2 and 4."""
    workdir, here = tmp_path_factory.mktemp("states-run") / "run", os.getcwd()
    os.chdir(ROOT)
    train(config(corpus), workdir, quiet=True)
    os.chdir(here)
    return workdir


@pytest.fixture
def copy(run, tmp_path):
    return Path(shutil.copytree(run, tmp_path / "run"))


@pytest.fixture(scope="module")
def restore(run):
    """workdir -> (step, state, data)."""
    here = os.getcwd()
    os.chdir(ROOT)
    opened = open_run(read_run(run))
    os.chdir(here)
    shapes = state_shapes(opened.spec.stage)
    placed = state_shardings(opened.spec.stage, opened.mesh)

    def restored(workdir):
        with SavedStates(workdir / "checkpoints", every=1) as saved:
            return (saved.latest, *jax.device_get(saved.restore(shapes, placed)))

    return restored


def damaged(data: bytes, kind: str) -> bytes:
    if kind == "cut":
        return data[: len(data) // 2]
    changed = bytearray(data)
    changed[random.Random(len(data)).randrange(len(data))] ^= 0x55
    return bytes(changed)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["delete", "cut", "flip"])
def test_a_damaged_file_is_named_or_does_not_matter(run, restore, tmp_path, capfd, kind):
    """Every file of the step: what is restored is to the bit what was saved, or one line."""
    step, state, data = restore(run)
    files = [p for p in (run / "checkpoints" / str(step)).rglob("*") if p.is_file()]
    files = [p for p in files if p.name != "commit_success.txt" and p.stat().st_size]
    refused = 0
    for path in files:
        workdir = shutil.copytree(run, tmp_path / "run", dirs_exist_ok=True)
        file = workdir / path.relative_to(run)
        file.unlink() if kind == "delete" else file.write_bytes(damaged(path.read_bytes(), kind))
        capfd.readouterr()
        try:
            restored = restore(workdir)
        except InputError as error:
            refused += 1
            assert f"{workdir}/checkpoints/4: the state is damaged" in str(error)
            assert "delete this folder to go on from step 2" in str(error)
            assert "\n" not in str(error) and len(str(error)) < 600
            assert "Traceback" not in capfd.readouterr().err
        else:
            assert restored[0] == step and restored[2] == data, file
            jax.tree.map(np.testing.assert_array_equal, restored[1], state)
        shutil.rmtree(workdir)
    assert refused >= 4


UNREADABLE = [
    (OSError(errno.EACCES, os.strerror(errno.EACCES)), "Permission denied"),
    (OSError(errno.EIO, os.strerror(errno.EIO)), "Input/output error"),
    (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "Too many open files"),
    (TimeoutError("no answer"), "no answer"),
    (ValueError("INTERNAL: Error opening file [OS error 5: Input/output error]"), "Input/output"),
    (Exception("UNAVAILABLE: storage"), "UNAVAILABLE"),
    (MemoryError(), "memory does not hold it"),
    (ExceptionGroup("several", [OSError(errno.ESTALE, os.strerror(errno.ESTALE))]), "[Ss]tale"),
    (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"), "memory does not hold it"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("error", "message"), UNREADABLE)
@pytest.mark.parametrize("wrapped", [False, True])
def test_what_cannot_be_read_is_not_called_damaged(run, error, message, wrapped, monkeypatch):
    """No message advises to delete a state that may be undamaged."""
    state = {"x": jax.ShapeDtypeStruct((2,), np.float32)}
    here = {"x": jax.sharding.SingleDeviceSharding(jax.devices()[0])}

    def fails(*_, **__):
        if wrapped:
            raise ValueError("cannot restore") from error
        raise error

    with SavedStates(run / "checkpoints", every=1) as saved:
        monkeypatch.setattr(saved._manager, "restore", fails)
        with pytest.raises(InputError, match=f"4: cannot read the state .*{message}") as caught:
            saved.restore(state, here)
    assert "delete" not in str(caught.value) and "damaged" not in str(caught.value)


def test_the_sum_is_of_all_words_on_any_mesh():
    """As numpy adds them up; the host reads a scalar of each leaf, never the arrays."""
    rng = np.random.default_rng(0)
    values = [
        rng.normal(size=(8, 3)).astype(np.float32),
        rng.integers(0, 1 << 32, (8,), np.uint32),
        rng.normal(size=(8, 5)).astype(jax.numpy.bfloat16),
        np.array([True] * 5 + [False] * 3),
        np.int32(-7),
    ]
    expected = 0
    for number, value in enumerate(values):
        flat = np.ascontiguousarray(value).reshape(-1)
        words = flat.view(np.uint32 if flat.dtype.itemsize == 4 else np.uint8)
        expected += (2 * number + 1) * int(words.sum(dtype=np.uint64))
    key = jax.random.key(3)
    expected += 11 * int(np.asarray(jax.random.key_data(key)).sum(dtype=np.uint64))
    for count in (1, len(jax.devices())):
        mesh = jax.sharding.Mesh(np.array(jax.devices()[:count]), ("data",))
        split = jax.NamedSharding(mesh, jax.P("data"))
        replicated = jax.NamedSharding(mesh, jax.P())
        state = [jax.device_put(x, split if np.ndim(x) else replicated) for x in values]
        state.append(jax.device_put(key, replicated))
        assert states._sum(state) == expected % (1 << 32)
        assert all(jax.eval_shape(states._sum_on_device, x).shape == () for x in state)
        state[3] = jax.device_put(values[3] & (np.arange(8) > 0), split)
        assert states._sum(state) != expected % (1 << 32)


@pytest.mark.parametrize("what", ["state", "data", ""])
def test_a_lost_folder_is_named(copy, restore, what):
    shutil.rmtree(copy / "checkpoints" / "4" / what)
    (copy / "checkpoints" / "4").mkdir(exist_ok=True)
    with pytest.raises(InputError, match="checkpoints/4: the state is damaged .* from step 2"):
        restore(copy)


def test_the_run_goes_on_from_the_state_before(corpus, copy, tmp_path, capsys):
    """Both commands name the folder; without it they take the one before, or `--step` does."""
    data = max((copy / "checkpoints" / "4").rglob("*"), key=lambda p: p.stat().st_size)
    data.write_bytes(data.read_bytes()[:100])
    command = ["train", f"--config={FILE}", f"--workdir={copy}", "-q"]
    command += [f"--config.data.sources={corpus}", "--config.steps=5"]
    export = ["export", str(copy), str(tmp_path / "out")]
    for arguments in (command, export):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert f"{copy}/checkpoints/4: the state is damaged" in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert main([*export, "--step", "3"]) == 2
    assert "no state of step 3; it has 2 4" in capsys.readouterr().err
    assert main([*export, "--step", "2"]) == 0
    assert "step 2" in capsys.readouterr().err
    shutil.rmtree(copy / "checkpoints" / "4")
    assert main(command) == 0


def test_damaged_files_of_the_run(corpus, copy, tmp_path, capsys):
    command = ["export", str(copy), str(tmp_path / "out")]
    for name, text, message in (
        ("config.json", "{", "config.json"),
        ("config.json", "[]", "config.json"),
        ("config.json", '{"stage": "panns"}', "missing in the configuration"),
        ("classes.json", "{", "classes.json"),
        ("classes.json", "[1]", "a list of labels is expected"),
    ):
        before = (copy / name).read_bytes()
        (copy / name).write_text(text)
        assert main(command) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
        (copy / name).write_bytes(before)
    (copy / "config.json").write_text("[]")
    with pytest.raises(InputError, match="config.json"):
        train(config(corpus), copy, quiet=True)
    with pytest.raises(InputError, match="it is a file"):
        train(config(corpus), copy / "config.json", quiet=True)
    shutil.rmtree(copy / "checkpoints")
    (copy / "config.json").write_bytes(before and (copy / "config.json").read_bytes())
    assert main(["export", str(tmp_path), str(tmp_path / "out")]) == 2
    assert "it is not the folder of a run" in capsys.readouterr().err


def test_runs_of_before_are_exported(copy, tmp_path):
    """Earlier versions wrote values that have no effect into every run's configuration."""
    stored = read_run(copy)
    assert stored.optim.schedule != "cosine"
    with stored.unlocked():
        stored.optim.steps, stored.optim.decay, stored.data.text_length = 100_000, 0.9, 7
        stored.sample.prompts, stored.validation.batches = ("a dog",), 3
    (copy / "config.json").write_text(json.dumps(stored.to_dict()))
    assert main(["export", str(copy), str(tmp_path / "out")]) == 0


def test_another_configuration_is_told_by_its_entries(corpus, copy):
    with pytest.raises(InputError, match="of another configuration .*settings.width was 64 and is"):
        train(config(corpus, "settings.width=40", "steps=5"), copy, quiet=True)


@pytest.mark.parametrize("value", ["data.sources=x", "data.sources=", "validation.sources={}:few"])
def test_a_misspelt_corpus_is_told_before_the_start(value, corpus, tmp_path, capsys):
    with pytest.raises(InputError, match="x: |sources|few"):
        train(config(corpus, value.format(corpus)), tmp_path / "run")
    assert "opening" not in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_a_full_disk(corpus, tmp_path, monkeypatch):
    """One line that names the folder; the last state stays and the run goes on from it."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    scalars = Board.scalars

    def fails(self, step, values):
        if step == 3:
            raise full
        return scalars(self, step, values)

    monkeypatch.setattr(Board, "scalars", fails)
    with pytest.raises(InputError, match="run: cannot write metrics .No space left"):
        train(config(corpus), tmp_path / "run", quiet=True)
    monkeypatch.setattr(Board, "scalars", scalars)
    save = SavedStates.save

    def no_space(self, step, *rest, **settings):
        with self._errors("save"):
            raise full

    monkeypatch.setattr(SavedStates, "save", no_space)
    with pytest.raises(InputError, match="checkpoints: cannot save the state .*No space left"):
        train(config(corpus), tmp_path / "run", quiet=True)
    monkeypatch.setattr(SavedStates, "save", save)
    assert train(config(corpus), tmp_path / "run", quiet=True)["loss"] > 0


def test_control_c_saves(corpus, tmp_path, restore):
    """The first one at the end of the step, with a state; before any step at once."""

    def hook(step, state, frozen):
        if step == at:
            os.kill(os.getpid(), signal.SIGINT)
        return {}

    hook.every, at = 1, 1
    with pytest.raises(KeyboardInterrupt):
        train(config(corpus, "save_every=100"), tmp_path / "run", quiet=True, hooks=[hook])
    assert restore(tmp_path / "run")[0] == 2
    at = 0
    with pytest.raises(KeyboardInterrupt):
        train(config(corpus), tmp_path / "other", quiet=True, hooks=[hook])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_first_control_c_is_answered_at_once(capfd):
    with pytest.raises(KeyboardInterrupt), Stopping() as stopping:
        assert not stopping.requested(1)
        os.kill(os.getpid(), signal.SIGINT)
        assert "saving after this step; Ctrl-C again ends at once" in capfd.readouterr().err
        assert stopping.requested(2)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("not ended")


def test_several_processes_stop_at_one_step(monkeypatch):
    """Ctrl-C is SIGTERM to JAX, which tells the others; asked by the run's step, as orbax asks."""
    events = []
    before = signal.signal(signal.SIGTERM, lambda *_: events.append("term"))
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    agree = "jax.experimental.multihost_utils.reached_preemption_sync_point"
    monkeypatch.setattr(agree, lambda step: events.append(step) or step == 42)
    try:
        with Stopping() as stopping:
            os.kill(os.getpid(), signal.SIGINT)
            assert not stopping.requested(41) and stopping.requested(42)
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            stopping.end()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert events == ["term", 41, 42]


def test_workers_outlive_control_c(corpus):
    """A terminal sends it to all processes of its group; the batches go on."""
    opened = open_run(config(corpus, "data.workers=1", "batch=8"))
    with open_batches(opened) as batches:
        next(batches)
        workers = multiprocessing.active_children()
        assert workers
        for worker in workers:
            os.kill(worker.pid, signal.SIGINT)
        time.sleep(0.3)
        for _ in range(6):
            next(batches)
        assert all(worker.is_alive() for worker in workers)


def speechless(folder, **texts):
    """Clips of sound with the given texts alone."""
    raw = folder.with_name(f"{folder.name}-raw")
    raw.mkdir()
    entries = []
    for i in range(8):
        (raw / f"{i}.flac").write_bytes(tone(i, 1.5))
        one = {name: values[i % len(values)] for name, values in texts.items()}
        entries.append(ClipRecord(str(i), FileRef(str(raw / f"{i}.flac")), **one))
    prepare({"train": entries}, folder, metadata={"name": folder.name}, report=Report(), workers=1)
    return folder


def test_a_corpus_without_texts_is_refused(tmp_path):
    silent = speechless(tmp_path / "silent")
    half = speechless(tmp_path / "half", captions=((), ("a tone",)), transcript=("", "a tone"))
    for file, what, *values in (
        ("configs/audioldm.py:tiny", "caption", "settings.p_clap_audio=0"),
        ("configs/clap.py:tiny", "caption"),
        ("configs/loa.py:tiny-speech", "transcript"),
    ):
        values = [f"--config.{value}" for value in values]
        opened = open_run(read_config(file, [f"--config.data.sources={silent}", *values]))
        with pytest.raises(InputError, match=f"no clip has a {what}, which stage"):
            check_texts(opened)
        (line,) = check_texts(opened, str(half))
        assert f"half (train): 50% of the clips have no {what}" in line
        assert check_texts(opened, f"{silent},{half}")[0].startswith(f"{silent} (train): 100%")
    run_config = read_config("configs/clap.py:tiny", [f"--config.data.sources={silent}"])
    with pytest.raises(InputError, match="no clip has a caption"):
        train(run_config, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_transcripts_with_nothing_to_say_are_unusable_clips():
    from audioldm2_jax.data.loading.error_budget import FailedClip
    from audioldm2_jax.data.loading.tokenise import from_phonemes
    from audioldm2_jax.data.loading.transforms import ClipTransform

    recipe = ClipTransform(seconds=0.5, tokens={"phonemes": from_phonemes(32)})
    example = {"id": b"x", "audio": tone(1), "captions": [], "labels": []}
    rng = np.random.default_rng(0)
    for text in ("\U0001f642", "<MUSIC>", "-", "...", "\u3000"):
        outcome = recipe(example | {"transcript": text.encode()}, rng)
        if text.strip():
            assert isinstance(outcome, FailedClip) and "transcript" in outcome.reason, text
    assert recipe(example | {"transcript": b"a cat"}, rng)["phonemes_mask"].any()


def test_a_warm_up_that_never_ends_is_told(corpus, tmp_path, capsys):
    train(config(corpus, "optim.warmup=100", "steps=1"), tmp_path / "run")
    stderr = capsys.readouterr().err
    assert (
        "optim.warmup is 100 and the run 1 steps" in stderr and "compiling the step ..." in stderr
    )
    assert "opening the base checkpoint ..." in stderr.splitlines()[0]
