"""A stage is one file and one line of the table; the trainer knows none of them by name."""

import ast
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioldm2_jax.checkpoints import single
from audioldm2_jax.cli.main import main
from audioldm2_jax.errors import InputError
from audioldm2_jax.features.mel import log_mel, mel_config
from audioldm2_jax.training.init import init_part, init_parts
from audioldm2_jax.training.run import open_run
from audioldm2_jax.training.settings import StageSettings, setting
from audioldm2_jax.training.shapes import batch_shapes, frozen_shapes
from audioldm2_jax.training.spec import (
    BatchSpec,
    PromptSamples,
    Stage,
    StageInfo,
    StageSpec,
    TrainableGroup,
)
from audioldm2_jax.training.stages import STAGES, find_stage
from tests.data.corpora import write_corpus
from tests.training.stages_of import QUICK, SETTINGS, TINY, build_spec, plan

ROOT = Path(__file__).parent.parent.parent
TRAINING = ROOT / "audioldm2_jax" / "training"


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_has_one_name(name):
    """The same in the table, its file, its configuration and its values."""
    info = STAGES[name]
    assert info.name == name and build_spec(name)[0].stage.name == name
    assert info.build.__module__.rpartition(".")[2] == name
    assert (TRAINING / "stages" / f"{name}.py").is_file()
    assert (ROOT / "configs" / f"{name}.py").is_file()
    assert (ROOT / "configs" / "nano" / f"{name}.py").is_file() or name == "audioldm"


@pytest.mark.parametrize("name", STAGES)
def test_what_the_table_says_is_what_the_stage_does(name):
    info, (spec, _) = STAGES[name], build_spec(name)
    assert info.reads_texts == bool(spec.batch.texts)
    assert info.reads_labels == bool(spec.batch.classes)
    assert info.reads_latents == ("vae" in spec.frozen)
    assert info.has_ema == bool(spec.stage.ema)
    assert info.uses_base == bool(spec.init_from_base)
    assert isinstance(info.samples, PromptSamples) == bool(spec.batch.precomputed)
    assert set(spec.exports) <= {p for group in spec.stage.groups.values() for p in group.parts}


def words(path: Path):
    """Text constants of a file that are no docstrings."""
    tree = ast.parse(path.read_text())
    texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts:
            yield node.value


@pytest.mark.parametrize("path", sorted(TRAINING.glob("*.py")), ids=lambda path: path.name)
def test_the_trainer_names_no_stage_and_no_part(path):
    names = {*STAGES, "t5", "phonemes", "projection", "gpt2", "unet"}
    assert not names & set(words(path)), "let the stage's file say it"


@dataclass(frozen=True)
class ToySettings(StageSettings):
    weight: float = setting(1.0, 0)


def build_toy(settings: ToySettings, optim) -> StageSpec:
    """The VAE's mean learns the level of the mel spectrogram."""
    vae, front = settings.model.vae, mel_config(settings.model.vocoder)

    def loss(params, frozen, batch, keys, step):
        level = log_mel(batch["waveform"], front).mean()
        bias = params["vae"]["decoder"]["conv_out"]["bias"]
        value = settings.weight * jnp.square(bias - level).mean()
        return value, {"level": level}

    init = init_parts({"vae": init_part("vae", vae)})
    return StageSpec(
        Stage("toy", init, {"model": TrainableGroup(("vae",), loss, optim)}),
        BatchSpec(front.sample_rate, settings.seconds),
        init_from_base=("vae",),
        exports=("vae",),
    )


TOY = StageInfo("toy", ToySettings, build_toy, trains="a toy")
CONFIG = """
from audioldm2_jax.configs.common import stage_config, tiny
def get_config(arg=""):
    return tiny(stage_config("toy", weight=2.0))
"""


@pytest.mark.slow
def test_a_stage_of_ones_own(tmp_path, monkeypatch):
    """One value and one line: it is configured, checked, trained, rehearsed and exported."""
    monkeypatch.setitem(STAGES, "toy", TOY)
    (tmp_path / "toy.py").write_text(CONFIG)
    corpus, run = write_corpus(tmp_path / "tones", 8, seconds=1.5), tmp_path / "run"
    command = ["train", f"--config={tmp_path / 'toy.py'}", f"--workdir={run}", "-q"]
    command += [f"--config.data.sources={corpus}", "--config.steps=2", "--config.log_every=1"]
    assert main(command) == 0
    assert main([*command, "--config.settings.weight=-1"]) == 2
    assert main([*command, "--config.settings.wieght=1"]) == 2
    assert main(["export", str(run), str(tmp_path / "out")]) == 0
    loaded = single.load(tmp_path / "out")
    assert loaded.name == "vae"
    fresh = init_part("vae", TINY.vae)(jax.random.key(0))["decoder"]["conv_out"]["bias"]
    assert np.abs(loaded.params["decoder"]["conv_out"]["bias"] - fresh).max() > 0
    from audioldm2_jax.training.export import read_run

    opened = open_run(read_run(run), stored=True)
    shapes = batch_shapes(opened)
    assert list(shapes) == ["waveform"] and not frozen_shapes(opened, shapes)
    with pytest.raises(InputError, match="stage toy trains on sound"):
        batch_shapes(opened, precomputed=True)


def test_unknown_stages():
    with pytest.raises(InputError, match="stage 'latent': choose one of panns audiomae"):
        find_stage("latent")


def test_settings_are_the_dataclasses_fields():
    spec = plan("audiomae", TINY, QUICK, SETTINGS["audiomae"], dtype=jnp.float32, seconds=1.28)
    assert dataclasses.is_dataclass(spec) and STAGES["audiomae"].defaults["mask_ratio"] == 0.8
