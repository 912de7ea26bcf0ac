"""Runs: resumed equals uninterrupted to the bit, on another mesh too; told to end, they save."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from audioldm2_jax.checkpoints import hub, single
from audioldm2_jax.cli.main import main
from audioldm2_jax.data.corpus.frozen_encoders import PrecomputeConfig
from audioldm2_jax.data.corpus.precompute import precompute
from audioldm2_jax.data.ingest.report import Report
from audioldm2_jax.data.untrained import random_checkpoint
from audioldm2_jax.errors import InputError, NumericalError
from audioldm2_jax.presets import PRESETS
from audioldm2_jax.recipes.nano import build
from audioldm2_jax.training.configuration import read_config
from audioldm2_jax.training.export import trained_parts
from audioldm2_jax.training.hooks import hooks_of
from audioldm2_jax.training.loop import train
from audioldm2_jax.training.run import open_run
from audioldm2_jax.training.shapes import batch_shapes, frozen_shapes
from audioldm2_jax.training.stages.conditions import EMPTY_TEXT
from audioldm2_jax.training.state import init_sharded
from tests.data.corpora import write_corpus
from tests.training.stages_of import FILM, TINY

ROOT = Path(__file__).parent.parent.parent
CONFIGS = sorted(
    f"{path.relative_to(ROOT)}:tiny"
    for path in (ROOT / "configs").rglob("*.py")
    if path.name not in ("__init__.py", "common.py")
    and path.parent.name not in ("nano", "study", "tables")
)
# The others compile XLA's kernels, in half the time.
AS_USERS_TRAIN = {
    file: pytest.param(file, marks=pytest.mark.cpu_kernels)
    for file in ("configs/audioldm.py:tiny", "configs/vae.py:tiny")
}
# Speech: the step of its joint training is in test_step.py.
CONFIGS += ["configs/loa.py:tiny-speech"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("loop") / "tones", 24, seconds=1.5)


@pytest.fixture(autouse=True)
def root(monkeypatch):
    monkeypatch.chdir(ROOT)


def config(file, corpus, *overrides):
    values = [f"--config.data.sources={corpus}", *(f"--config.{text}" for text in overrides)]
    return read_config(f"{file}:tiny", values)


def parameters(workdir):
    """(step, trained parameters) of a run's last state."""
    from ml_collections import ConfigDict

    run = open_run(ConfigDict(json.loads((workdir / "config.json").read_text())))
    step, trained = trained_parts(run, workdir, "raw")
    return step, jax.device_get(trained)


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_resumed_equals_uninterrupted(corpus, tmp_path):
    """To the bit: parameters and the order of the data, which the losses show."""
    file = "configs/audiomae.py"
    short = ["log_every=1", "save_every=2"]
    train(config(file, corpus, "steps=6", *short), tmp_path / "whole", quiet=True)
    train(config(file, corpus, "steps=3", *short), tmp_path / "halves", quiet=True)
    train(config(file, corpus, "steps=6", *short), tmp_path / "halves", quiet=True)
    one, other = (parameters(tmp_path / name) for name in ("whole", "halves"))
    assert one[0] == other[0] == 6
    assert_same(one[1], other[1])
    lines = {
        name: [json.loads(x) for x in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("whole", "halves")
    }
    losses = {name: [(x["step"], x["loss"]) for x in rows] for name, rows in lines.items()}
    assert losses["whole"] == losses["halves"] and len(losses["whole"]) == 6


@pytest.mark.slow
def test_another_mesh_goes_on(corpus, tmp_path):
    file = "configs/audiomae.py"
    split = ["mesh.data=2", "mesh.fsdp=2", "mesh.tensor=2"]
    train(config(file, corpus, "steps=2", *split), tmp_path / "run", quiet=True)
    metrics = train(config(file, corpus, "steps=4"), tmp_path / "run", quiet=True)
    alone = train(config(file, corpus, "steps=4"), tmp_path / "alone", quiet=True)
    np.testing.assert_allclose(metrics["loss"], alone["loss"], rtol=1e-3)


def test_values_that_are_not_there(corpus, tmp_path, capsys):
    def run(*arguments):
        return main(["train", "--workdir", str(tmp_path / "run"), "-q", *arguments])

    good = f"--config.data.sources={corpus}"
    tiny = "--config=configs/panns.py:tiny"
    for arguments, message in (
        (["--config=configs/absent.py"], "configs/absent.py: no such file"),
        (["--config=configs/panns.py:huge"], "'huge': choose one of cnn14 small tiny"),
        ([tiny, "--config.optm.clip=1"], "--config.optm.clip: no such value"),
        ([tiny, good, "--config.batch=6"], "must be a multiple of accumulate x data x fsdp, 8"),
        ([tiny, good, "--config.mesh.data=3"], "does not fit 8 devices"),
        ([tiny], "data.sources is empty"),
        ([tiny, "--config.data.sources=/absent"], "a prepared corpus"),
        ([tiny, good, "stray"], "stray: values are given as --config.NAME=VALUE"),
        (["--config=configs/joint.py:tiny", good, "--config.preset=x"], "preset 'x'"),
    ):
        assert run(*arguments) == 2, message
        error = capsys.readouterr().err
        assert message in error and error.startswith("error: ") and error.count("\n") == 1
    with pytest.raises(SystemExit):
        main(["doctor", "--config.x=1"])


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted({name.partition(":")[0] for name in CONFIGS}))
def test_every_variant_has_its_shapes(file, corpus):
    """Full-size ones too: networks, frozen parts and batches fit together; nothing is computed."""
    with pytest.raises(InputError) as error:
        read_config(f"{file}:?", [])
    programs = set()
    for variant in str(error.value).partition("choose one of ")[2].split():
        run_config = read_config(f"{file}:{variant}", [f"--config.data.sources={corpus}"])
        with run_config.unlocked():
            run_config.batch = 8
        # Variants that differ by their data alone are one program.
        program = run_config.preset, str(run_config.settings), run_config.data.seconds
        if program in programs:
            continue
        programs.add(program)
        run = open_run(run_config)
        # The frozen encoders are the same in all; an encoded corpus leaves them nothing to do.
        fits(run, encoded=len(programs) > 1 and bool(run.spec.frozen))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *dict.fromkeys(f"nano/{stage.config}" for stage in build.STAGES.values()),
        "study/audioldm.py:finetune",
    ],
)
def test_the_embedded_models_have_their_shapes(name, corpus):
    values = [f"data.sources={corpus}", "base_checkpoint=", "batch=8"]
    path = ROOT / "configs" / name
    run = open_run(read_config(str(path), [f"--config.{value}" for value in values]))
    fits(run, encoded=False)


def fits(run, encoded):
    """Every group's loss of the run's shapes is a scalar; encoded: the corpus is."""
    params = jax.eval_shape(run.spec.stage.init, jax.random.key(0))
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 8))
    with jax.set_mesh(run.mesh):
        batch = batch_shapes(run, precomputed=encoded)
        frozen = frozen_shapes(run, batch)
        assert not encoded or set(frozen) <= {EMPTY_TEXT}
        for group in run.spec.stage.groups.values():
            value, metrics = jax.eval_shape(group.loss, params, frozen, batch, keys, 0)
            metrics.pop("batch_stats", None)
            assert all(x.shape == () for x in (value, *metrics.values()))


def test_a_folder_keeps_its_stage(corpus, tmp_path):
    (tmp_path / "config.json").write_text('{"stage": "vae"}')
    with pytest.raises(InputError, match="holds a run of stage vae"):
        train(config("configs/panns.py", corpus), tmp_path, quiet=True)


@pytest.mark.slow
def test_a_run_that_cannot_begin_changes_nothing(corpus, tmp_path):
    """No folder without data; another size's state is refused, and its configuration kept."""
    with pytest.raises(InputError, match="a prepared corpus"):
        train(config("configs/panns.py", tmp_path / "none"), tmp_path / "run", quiet=True)
    assert not list(tmp_path.iterdir())
    train(config("configs/panns.py", corpus, "steps=1"), tmp_path / "run", quiet=True)
    stored = (tmp_path / "run" / "config.json").read_text()
    wider = config("configs/panns.py", corpus, "steps=2", "settings.width=40")
    with pytest.raises(InputError, match="the saved state is of another configuration"):
        train(wider, tmp_path / "run", quiet=True)
    assert (tmp_path / "run" / "config.json").read_text() == stored


@pytest.mark.slow
def test_held_parameters(corpus, tmp_path):
    """Patterns keep parameters as they were; idle ones are named."""
    run_config = config(
        "configs/panns.py", corpus, "steps=2", "frozen_params=blocks_0,embed/kernel"
    )
    run = open_run(run_config)
    fresh = jax.jit(run.spec.stage.init)(jax.random.fold_in(jax.random.key(0), 0))["panns"]
    train(run_config, tmp_path / "run", quiet=True)
    trained = parameters(tmp_path / "run")[1]["panns"]
    assert_same(fresh["embed"]["kernel"], trained["embed"]["kernel"])
    assert_same(fresh["blocks_0_conv_0"], trained["blocks_0_conv_0"])
    assert np.abs(fresh["embed"]["bias"] - trained["embed"]["bias"]).max() > 0
    with pytest.raises(InputError, match="frozen_params 'blocks_9': no parameter's path has it"):
        open_run(config("configs/panns.py", corpus, "frozen_params=blocks_9"))


@pytest.mark.slow
def test_user_hooks(corpus, tmp_path):
    """Called before, every so often, after; their metrics are returned."""
    calls = []

    def hook(step, state, frozen):
        calls.append((step, int(state.step)))
        return {"mine": 2.0 * step}

    hook.every = 2
    metrics = train(
        config("configs/panns.py", corpus, "steps=5"), tmp_path / "run", quiet=True, hooks=[hook]
    )
    assert calls == [(0, 0), (2, 2), (4, 4), (5, 5)] and metrics["mine"] == 10.0


def test_sigterm_saves_at_once(corpus, tmp_path):
    """Hooks, which may take minutes, are not called any more."""
    steps = []

    def hook(step, state, frozen):
        steps.append(step)
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return {}

    hook.every = 1
    run_config = config("configs/panns.py", corpus, "steps=9")
    train(run_config, tmp_path / "run", quiet=True, hooks=[hook])
    assert steps == [0, 1, 2] and parameters(tmp_path / "run")[0] == 3


@pytest.mark.slow
def test_parts_trained_side_by_side_come_together(corpus, tmp_path, capsys):
    """Onto another checkpoint: the run's part, and all others of that one."""
    other = random_checkpoint(TINY, seed=1)
    hub.save(other, tmp_path / "other")
    run_config = config("configs/audiomae.py", corpus, "steps=1", "base_checkpoint=random")
    train(run_config, tmp_path / "run", quiet=True)
    command = ["export", str(tmp_path / "run")]
    assert main([*command, str(tmp_path / "out"), "--onto", str(tmp_path / "other")]) == 0
    loaded = hub.load(tmp_path / "out")
    _, trained = parameters(tmp_path / "run")
    assert_same(jax.device_get(loaded.params["audiomae"]), trained["audiomae"])
    assert_same(jax.device_get(loaded.params["vae"]), jax.device_get(other.params["vae"]))
    hub.save(random_checkpoint(PRESETS["tiny-audioldm"]()), tmp_path / "film")
    assert main([*command, str(tmp_path / "no"), "--onto", str(tmp_path / "film")]) == 2
    assert "its audiomae is of another configuration" in capsys.readouterr().err


def test_held_out_figures_are_means_over_clips(corpus):
    """Whatever the batches: fewer clips than one, a short last one, a batch for each device."""
    results, state = [], None
    for batch in (8, 16, 32):
        values = f"validation.sources={corpus}", f"batch={batch}", "validation.batches=9"
        run = open_run(config("configs/audiomae.py", corpus, *values))
        with jax.set_mesh(run.mesh):
            state = state or init_sharded(run.spec.stage, run.mesh, 0)
            (validation,) = hooks_of(run, None, None)
            results.append(validation(0, state, {})["valid/loss"])
    np.testing.assert_allclose(results, results[0], rtol=1e-5)


def test_wandb_is_asked_for(corpus, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match="wandb is not installed: pip install wandb"):
        train(config("configs/panns.py", corpus, "wandb=mine"), tmp_path / "run", quiet=True)


def test_runs_that_diverge_stop(corpus, tmp_path):
    values = ["optim.learning_rate=1e30", "optim.clip=0.0", "max_skipped=3", "log_every=1"]
    run_config = config("configs/panns.py", corpus, "steps=20", *values)
    with pytest.raises(
        NumericalError, match=r"not finite for \d steps in a row; the last batch .*train/"
    ):
        train(run_config, tmp_path / "run", quiet=True)


@pytest.mark.slow
@pytest.mark.parametrize("file", [AS_USERS_TRAIN.get(file, file) for file in CONFIGS])
def test_every_stage_trains_and_exports(file, corpus, tmp_path):
    """Two steps from the command line, with their hooks, then a checkpoint that loads."""
    command = ["train", f"--config={file}", f"--workdir={tmp_path / 'run'}", "-q"]
    command += [f"--config.data.sources={corpus}", "--config.steps=2", "--config.log_every=1"]
    for name, model in (("audioldm", FILM), ("joint", TINY), ("pretrain", TINY)):
        # The shapes of all levels are compared above.
        if f"/{name}.py" in file:
            hub.save(random_checkpoint(model), tmp_path / "model")
            command += [f"--config.base_checkpoint={tmp_path / 'model'}"]
    # One stage of each way to make sound; compiling the pipeline takes its time.
    has_sound = any(name in file for name in ("/audioldm.py", "loa.py:tiny-speech", "vocoder"))
    sampled = int(has_sound or "vae" in file)
    command += [f"--config.sample.every={sampled}"]
    # Stages on latents measure held-out clips as they train: one of them shows it.
    measured = not any(name in file for name in ("joint", "pretrain", "vocoder"))
    command += [f"--config.validation.sources={corpus}"] * measured
    assert main(command) == 0
    lines = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    # Measured before the first and after the last step.
    assert [x["step"] for x in lines] == ([0, 1, 2, 2] if measured else [1, 2])
    assert all(np.isfinite(v) for line in lines for v in line.values())
    assert any(name.startswith("valid/") for name in lines[0]) == measured
    board = b"".join(p.read_bytes() for p in (tmp_path / "run" / "tensorboard").iterdir())
    assert (b"RIFF" in board) == has_sound and (b"PNG" in board) == bool(sampled)
    command = ["export", str(tmp_path / "run"), str(tmp_path / "out"), "--weights", "raw"]
    assert main(command) == 0
    is_model = (tmp_path / "out" / "model_index.json").is_file()
    step, trained = parameters(tmp_path / "run")
    assert step == 2
    if is_model:
        checkpoint = hub.load(tmp_path / "out")
        assert checkpoint.params.keys() >= trained.keys()
    else:
        (name,) = trained
        loaded = single.load(tmp_path / "out")
        assert loaded.name == name
        assert_same(jax.device_get(loaded.params), trained[name])


@pytest.mark.slow
def test_encoded_corpora_train_without_the_encoders(corpus, tmp_path):
    """Each pooling is its own LOA; what the encoding lacks is named."""
    model = random_checkpoint(TINY)
    hub.save(model, tmp_path / "model")
    settings = PrecomputeConfig(seconds=1.28, loa=(4,), text_length=32, batch=8)
    precompute(
        corpus, tmp_path / "encoded", hub.load(tmp_path / "model"), settings, report=Report()
    )
    values = [f"base_checkpoint={tmp_path / 'model'}", "steps=2", "log_every=1", "optim.eps=1.0"]
    file = "configs/loa.py"
    metrics = [
        train(config(file, source, *values), tmp_path / name, quiet=True)
        for name, source in (("sound", corpus), ("encoded-run", tmp_path / "encoded"))
    ]
    np.testing.assert_allclose(metrics[0]["loss"], metrics[1]["loss"], rtol=5e-3)
    other = config(file, tmp_path / "encoded", *values, "settings.pooling=8")
    with pytest.raises(
        InputError, match="stage loa needs more of its clips than these corpora hold"
    ):
        train(other, tmp_path / "other", quiet=True)
    held = (f"validation.sources={corpus}", "validation.every=1")
    mixed = config(file, tmp_path / "encoded", *values, *held)
    with pytest.raises(InputError, match="not encoded as data.sources are"):
        train(mixed, tmp_path / "mixed", quiet=True)


# Processes of their own compile the CPU's kernels, and so does what is compared with them.
@pytest.mark.cpu_kernels
@pytest.mark.slow
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL])
def test_stopped_by_a_signal(signal_number, corpus, tmp_path):
    """SIGTERM saves at once; after kill -9 the run goes on from the last state. Both to the bit."""
    file, workdir = "configs/audiomae.py", tmp_path / "run"
    # The cosine's length stays, although the run that goes on is shorter.
    values = ["steps=400", "optim.steps=400", "log_every=1", "save_every=5", "batch=8"]
    command = [sys.executable, "-m", "audioldm2_jax", "train", f"--config={file}:tiny"]
    command += [f"--workdir={workdir}", "-q", f"--config.data.sources={corpus}"]
    command += [f"--config.{value}" for value in values]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    metrics = workdir / "metrics.jsonl"
    until = time.time() + 240
    while time.time() < until and process.poll() is None:
        if metrics.is_file() and metrics.read_text().count("\n") >= 12:
            break
        time.sleep(0.05)
    process.send_signal(signal_number)
    code = process.wait(timeout=120)
    assert code == (0 if signal_number == signal.SIGTERM else -signal.SIGKILL)
    step, _ = parameters(workdir)
    assert 5 <= step < 400
    if signal_number == signal.SIGTERM:
        assert step == len(metrics.read_text().splitlines())
    end = f"steps={step + 4}"
    train(config(file, corpus, end, *values[1:]), workdir, quiet=True)
    train(config(file, corpus, end, *values[1:]), tmp_path / "whole", quiet=True)
    assert_same(parameters(workdir)[1], parameters(tmp_path / "whole")[1])


# Processes of their own compile the CPU's kernels, and so does what is compared with them.
@pytest.mark.cpu_kernels
@pytest.mark.slow
def test_two_processes_are_one(corpus, tmp_path):
    """Two hosts of two devices each, joined by gloo, against one of four: the same training, each
    clip with its own mask.
    """
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    file = "configs/audiomae.py"
    values = ["steps=3", "log_every=1", "save_every=3", "optim.eps=1.0", f"data.sources={corpus}"]

    def begin(workdir, devices, **job):
        command = [sys.executable, "-m", "audioldm2_jax", "train", f"--config={file}:tiny", "-q"]
        command += [f"--workdir={workdir}", *(f"--config.{value}" for value in values)]
        flags = f"--xla_force_host_platform_device_count={devices}"
        env = os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": flags} | job
        return subprocess.Popen(command, cwd=ROOT, env=env)

    address = {"COORDINATOR_ADDRESS": f"127.0.0.1:{port}", "NUM_PROCESSES": "2"}
    pair = [begin(tmp_path / "two", 2, **address, PROCESS_ID=str(i)) for i in range(2)]
    assert [process.wait(timeout=300) for process in pair] == [0, 0]
    assert begin(tmp_path / "one", 4).wait(timeout=300) == 0
    losses = [
        [json.loads(x)["loss"] for x in (tmp_path / n / "metrics.jsonl").read_text().splitlines()]
        for n in ("two", "one")
    ]
    assert len(losses[0]) == 3
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    one, other = (parameters(tmp_path / name) for name in ("one", "two"))
    assert one[0] == other[0] == 3
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), one[1], other[1])
