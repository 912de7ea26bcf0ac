"""Entries of a configuration are obeyed or refused by name; bad files and values are one line."""

import ast
import json
import re
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from ml_collections import ConfigDict

from audioldm2_jax.cli.main import main
from audioldm2_jax.errors import InputError
from audioldm2_jax.training import entries, idle
from audioldm2_jax.training.base_checkpoint import open_base_checkpoint
from audioldm2_jax.training.configuration import read_config, stage_config
from audioldm2_jax.training.loop import train
from audioldm2_jax.training.run import open_run
from audioldm2_jax.training.settings import bounds_of
from audioldm2_jax.training.stages import STAGES
from tests.training.stages_of import QUICK, SECONDS, SETTINGS, TINY, batch, plan

BASE = "from audioldm2_jax.configs.common import stage_config\n"
ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "audioldm2_jax"


@pytest.fixture(autouse=True)
def root(monkeypatch):
    monkeypatch.chdir(ROOT)


def read(stage, *values):
    file = f"configs/{stage}.py:tiny"
    return read_config(file, [f"--config.{value}" for value in values])


def test_every_entry_is_read_by_the_code():
    """A default that no line of the package reads would be an option that does nothing."""
    files = [p for p in PACKAGE.rglob("*.py") if p.name not in ("entries.py", "idle.py")]
    text = "\n".join(p.read_text() for p in files)
    for name in entries.ENTRIES:
        group, _, last = name.rpartition(".")
        # Both groups are passed on as one value.
        is_read = group in ("optim", "mesh") or re.search(rf"\.{last}\b", text)
        assert is_read, f"{name}: nothing reads it"


# Of each entry a value that is neither the default nor what `:tiny` has.
CHANGED = {
    "init_from_base": "False",
    "preset": "nano",
    "optim.steps": "77",
    "optim.decay": "0.5",
    "optim.decay_every": "7",
    "ema_decay": "0.5",
    "data.text_length": "17",
    "latent_scale": "batch",
    "validation.every": "3",
    "validation.batches": "3",
    "sample.every": "3",
    "sample.prompts": "a dog",
    "sample.steps": "3",
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", CHANGED)
def test_entries_that_a_stage_passes_over_are_refused(stage, name):
    """Set by hand, each is in the list of reasons and refused, or it is not and accepted."""
    config = read(stage)
    why = idle.idle(config).get(name)
    if why is None:
        changed = read(stage, f"{name}={CHANGED[name]}")
        assert entries.get(changed, name) != entries.get(config, name)
        return
    with pytest.raises(InputError, match=f"{name} is .*it has no effect, for {why}"):
        read(stage, f"{name}={CHANGED[name]}")


def test_an_entry_is_idle_only_where_another_one_says_so():
    """What is switched off can be switched on, in some stage."""
    for name, (stage, *others) in {
        "optim.steps": ("vae", "optim.schedule=cosine"),
        "optim.decay": ("vae", "optim.schedule=exponential"),
        "optim.decay_every": ("vae", "optim.schedule=exponential", "optim.decay=0.5"),
        "validation.every": ("vae", "validation.sources=x"),
        "validation.batches": ("vae", "validation.sources=x"),
        "sample.every": ("vae",),
        "sample.prompts": ("joint", "sample.every=1"),
        "sample.steps": ("joint", "sample.every=1"),
        "latent_scale": ("joint",),
        "data.text_length": ("joint",),
        "ema_decay": ("joint",),
        "init_from_base": ("joint",),
        "preset": ("joint",),
    }.items():
        read(stage, *others, f"{name}={CHANGED[name]}")


# Overrides that make idle what the file sets itself.
SWITCHED = {
    "configs/vocoder.py": ("optim.schedule=cosine", "optim.decay", "0.5"),
    "configs/loa.py": ("optim.schedule=constant", "optim.decay_every", "7"),
    "configs/loa.py:tiny": ("optim.decay=1", "optim.decay_every", "7"),
    "configs/nano/joint.py": ("lora=4", "ema_decay", "0.5"),
    "configs/nano/pretrain.py": ("lora=4", "init_from_base", "False"),
    "configs/nano/vae.py": ("validation.every=0", "validation.sources", "x"),
}


@pytest.mark.parametrize("file", SWITCHED)
def test_an_override_puts_the_files_idle_entries_back(file):
    """Nobody is told to leave out what only the file has set."""
    value, name, other = SWITCHED[file]
    config = read_config(file, [f"--config.{value}"])
    assert entries.get(config, name) == entries.ENTRIES[name].default
    idle.check_effects(config)  # as a run does that begins with it
    with pytest.raises(InputError, match=f"{name} is .*it has no effect"):
        read_config(file, [f"--config.{value}", f"--config.{name}={other}"])


def test_what_a_file_sets_in_vain_is_still_refused(tmp_path):
    (tmp_path / "mine.py").write_text(
        f"{BASE}def get_config(arg=''):\n    c = stage_config('vae')\n"
        "    c.optim.steps = 77\n    return c"
    )
    config = read_config(str(tmp_path / "mine.py"), ["--config.batch=8"])
    with pytest.raises(InputError, match="optim.steps is 77: it has no effect"):
        idle.check_effects(config)
    assert read_config(str(tmp_path / "mine.py"), ["--config.optim.schedule=cosine"])


def test_lengths_are_not_split_yet():
    with pytest.raises(InputError, match="mesh.context is 2: no stage splits lengths yet; use 1"):
        open_run(read("vae", "mesh.context=2"))


def functions(stage: str) -> dict[str, list[ast.FunctionDef]]:
    """Functions and methods of the stage's file and of those that several share, by name."""
    results = {}
    for name in dict.fromkeys((stage, "loa", "diffusion", "conditions")):
        path = PACKAGE / "training" / "stages" / f"{name}.py"
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                results.setdefault(node.name, []).append(node)
    return results


def reached(name: str, known: dict, visited: set) -> set[str]:
    """Attributes and texts in a function, and in all that it names."""
    visited.add(name)
    words = set()
    for node in (inner for outer in known[name] for inner in ast.walk(outer)):
        if isinstance(node, ast.Attribute):
            words.add(node.attr)
        elif isinstance(node, ast.Name):
            words.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            words.add(node.value)
    for word in list(words):
        if word in known and word not in visited:
            words |= reached(word, known, visited)
    return words


@pytest.mark.parametrize("stage", STAGES)
def test_every_setting_is_read_by_its_stage(stage):
    words = reached("build", functions(stage), set())
    for name in STAGES[stage].defaults:
        assert name in words, f"settings.{name}: nothing in stage {stage} reads it"


# Of each setting another value. Tracing takes seconds, so that the quick stages stand for all.
OTHER = {"channels": (8, 24), "width": 32, "decoder_width": 48, "decoder_depth": 1}
OTHER |= {"decoder_heads": 1, "max_logit_scale": 1.5}


def program(stage, **settings) -> str:
    """Everything that a stage computes of a batch, as text: parameters and losses."""
    about = {"seconds": SECONDS, "dtype": jnp.float32, "classes": tuple("abcdef")}
    spec = plan(stage, TINY, QUICK, SETTINGS[stage] | settings, **about)
    params = jax.eval_shape(spec.stage.init, jax.random.key(0))
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 8))
    text = [str(jax.tree.map(lambda x: x.shape, params))]
    for player in spec.stage.groups.values():
        text.append(str(jax.make_jaxpr(player.loss)(params, {}, batch(), keys, 0)))
    return "\n".join(text)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["audiomae", "panns"])
def test_every_setting_changes_what_a_stage_computes(stage):
    plain = program(stage)
    for name, default in STAGES[stage].defaults.items():
        value = OTHER.get(name, not default if isinstance(default, bool) else 0.75)
        assert value != SETTINGS[stage].get(name, default), f"{name}: choose another value"
        assert program(stage, **{name: value}) != plain, f"settings.{name} changes nothing"


def test_settings_of_other_stages_are_refused():
    everything = {name for info in STAGES.values() for name in info.defaults}
    for stage, kind in STAGES.items():
        for name in everything - set(kind.defaults):
            with pytest.raises(InputError, match=f"settings.{name}: "):
                read(stage, f"settings.{name}=1")
            config = stage_config(stage)
            config.settings[name] = 1
            with pytest.raises(InputError, match=f"settings.{name}: stage {stage} has no such"):
                plan(stage, TINY, QUICK, config.settings.to_dict(), seconds=SECONDS, dtype=None)


def test_settings_that_wait_for_another_one():
    for stage, name, value in (
        ("vae", "adversarial_weight=0", "discriminator_start=3"),
        ("vae", "adversarial_weight=0", "discriminator_width=16"),
        ("vae", "perceptual_weight=0", "perceptual_files=a,b"),
        ("vocoder", "adversarial_weight=0", "small_discriminators=True"),
        ("joint", "p_ground_truth=1", "backprop_through_rollout=False"),
        ("loa", "rollout_weight=0", "backprop_through_rollout=False"),
    ):
        with pytest.raises(InputError, match="it has no effect, for settings"):
            read(stage, f"settings.{name}", f"settings.{value}")
    for info in STAGES.values():
        for name, bounds in bounds_of(info.settings).items():
            default = info.defaults[name]
            is_bounded = bounds.least is not None or bounds.choices or bounds.needs
            assert is_bounded or isinstance(default, bool), f"{name} has bounds or is true or false"


VALUES = [
    ("steps=abc", "--config.steps=abc: a value of another type; an integer is expected"),
    ("steps=1.5", "--config.steps=1.5: a value of another type; an integer is expected"),
    ("steps=", "--config.steps=: a value of another type; an integer is expected"),
    ("steps=0", "steps is 0: it must be at least 1"),
    ("steps=-5", "steps is -5: it must be at least 1"),
    ("steps=1e99", "steps"),
    ("steps=nan", "--config.steps=nan: a value of another type; an integer is expected"),
    ("steps=99999999999999999999", "it must be at most"),
    ("optim.learning_rate=fast", "a number is expected"),
    ("optim.learning_rate=nan", "optim.learning_rate is nan: it must be finite"),
    ("optim.learning_rate=inf", "it must be finite"),
    ("optim.learning_rate=-1", "it must be at least 0"),
    ("optim.beta1=1", "optim.beta1"),
    ("optim.schedule=linear", "choose one of constant cosine exponential"),
    ("optim.learning_rat=1", 'Did you mean "learning_rate"?'),
    ("optim=5", "it is a group of values; set one of optim.beta1"),
    ("settings=5", "it is a group of values; set one of settings."),
    ("optim.learning_rate.x=1", "no such value"),
    ("init_from_base=maybe", "true or false is expected"),
    ("init_from_base=1", "true or false is expected"),
    ("batch=-8", "batch is -8: it must be at least 1"),
    ("keep=0", "keep is 0: it must be at least 1"),
    ("log_every=0", "log_every is 0: it must be at least 1"),
    ("seed=-1", "seed is -1: it must be at least 0"),
    ("dtype=float16", "choose one of fp32 bf16"),
    ("latent_scale=first", "choose one of model batch"),
    ("remat=all", "choose one of none products blocks"),
    ("data.tolerance=2", "it must be at most 1"),
    ("data.workers=-1", "it must be at least 0"),
    ("data.seconds=0", "data.seconds is 0"),
    ("stage=vae", "a configuration is of one stage"),
    ("settings.cond_dropout=1.5", "settings.cond_dropout is 1.5: it must be at most 1"),
    ("settings.poolings=a,b", "integers, separated by commas, are expected"),
    ("settings.poolings=4.5", "integers, separated by commas, are expected"),
    ("settings.poolings=0", "settings.poolings is 0: it must be at least 1"),
    ("sample.prompts=@absent.txt", "absent.txt: no such file"),
    ("sample.prompts=[1, 2]", "texts"),
    ('sample.prompts=["a dog", rain]', "texts"),
    ("frozen_params=['a", "texts"),
    ("settings.poolings=[4", "integers, separated by commas, are expected"),
    ("sample.prompts=@~nouser/x", "~nouser/x': no path"),
    ("seed=-1e309", "an integer is expected"),
    ("data.workers=a\nb", "--config.data.workers=a\\nb: "),
    ("accumulate=" + "9" * 5000, "9 ...: "),
    ("a." * 500 + "b=1", "no such value"),
]


@pytest.mark.parametrize(("value", "message"), VALUES)
def test_values_that_do_not_fit(value, message, tmp_path, capsys):
    stage = "pretrain" if "poolings" in value else "joint"
    command = ["train", f"--config=configs/{stage}.py:tiny", f"--config.{value}", "-q"]
    assert main([*command, f"--workdir={tmp_path / 'run'}"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_numbers_as_people_write_them():
    assert read("vae", "steps=1e5").steps == 100_000
    assert read("vae", "steps=10_000").steps == 10_000
    assert read("vae", "optim.learning_rate=3e-5").optim.learning_rate == 3e-5
    assert read("vae", "optim.learning_rate=1").optim.learning_rate == 1.0
    assert read("pretrain", "settings.poolings=8").settings.poolings == (8,)
    assert read("pretrain", "settings.poolings=[2, 8]").settings.poolings == (2, 8)


def test_texts_with_commas(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("rain, then thunder\n\na dog barks\n", encoding="utf-8-sig")
    both = ("rain, then thunder", "a dog barks")
    for values in (
        [f"sample.prompts={json.dumps(both)}"],
        ["sample.prompts=('rain, then thunder', 'a dog barks')"],
        ["sample.prompts=rain, then thunder", "sample.prompts=a dog barks"],
        [f"sample.prompts=@{file}"],
    ):
        assert read("joint", "sample.every=1", *values).sample.prompts == both
    parted = read("joint", "sample.every=1", "sample.prompts=a dog,rain").sample.prompts
    assert parted == ("a dog", "rain")
    patterns = read("vae", "frozen_params=a{1,2}$", "frozen_params=b").frozen_params
    assert patterns == ("a{1,2}$", "b")


def test_values_that_begin_with_a_bracket():
    """Patterns and prompts; a list is what parses as one, or begins with a quoted text."""
    for pattern in ("(a|b)", "[ab]x", "[a-z]+", "[0-9]", "(1)", " (a", "[^/]*$"):
        assert read("vae", f"frozen_params={pattern}").frozen_params == (pattern.strip(),)
    prompts = read("joint", "sample.every=1", "sample.prompts=[music] soft piano").sample.prompts
    assert prompts == ("[music] soft piano",)
    assert (
        read("vae", 'frozen_params=[ "a,b" ]').frozen_params
        == read("vae", "frozen_params=('a,b',)").frozen_params
        == ("a,b",)
    )


def test_home_folders(monkeypatch, tmp_path, capsys):
    """As `export` reads them, also where the shell leaves `~` as it is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.py").write_text(
        f"{BASE}def get_config(arg=''):\n    return stage_config('vae')"
    )
    assert read_config("~/mine.py", []).stage == "vae"
    for values in (
        ["--config=configs/vae.py", "--workdir=~nouser/x"],
        ["--config=~nouser/x.py", "--workdir=x"],
    ):
        assert main(["train", *values, "-q", "--config.data.sources=x"]) == 2
        assert "~nouser/x" in (error := capsys.readouterr().err) and "no path" in error
        assert error.count("\n") == 1
    (tmp_path / "runs").write_text("")
    with pytest.raises(InputError, match=f"{tmp_path}/runs: it is a file"):
        train(stage_config("vae"), "~/runs", quiet=True)


FILES = {
    "def get_config(arg:": "line 1: SyntaxError",
    "import nowhere_at_all": "line 1: ModuleNotFoundError",
    "x = 1": "it defines no function get_config",
    "def get_config(arg=''):\n    return 1 / 0": "line 2: ZeroDivisionError",
    "def get_config(arg=''):\n    return {'stage': 'vae'}": "is a dict, not a ConfigDict",
    "def get_config():\n    return 1": "TypeError",
    "import sys\nsys.exit(3)": "line 2: SystemExit",
    f"{BASE}def get_config(arg=''):\n    return stage_config('vea')": "'vea'",
    f"{BASE}def get_config(arg=''):\n"
    "    return stage_config('vae', kl_weigth=1)": "has no setting 'kl_weigth'",
    f"{BASE}def get_config(arg=''):\n    c = stage_config('vae')\n"
    "    del c.steps\n    return c": "steps: missing in the configuration",
    f"{BASE}def get_config(arg=''):\n    c = stage_config('vae')\n"
    "    c.stepz = 4\n    return c": 'stepz: no entry of a configuration. Did you mean "steps"?',
    "from ml_collections import ConfigDict\ndef get_config(arg=''):\n    return ConfigDict()": (
        "missing in the configuration"
    ),
}


@pytest.mark.parametrize("name", ["vae", "vae.py", "configs/vae", "configs/vae.py", "nano/vae"])
def test_names_of_what_comes_with_the_package(name, tmp_path, monkeypatch):
    """From any folder, also where another package of the name `configs` is imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "configs", types.ModuleType("configs"))
    paths = list(sys.path)
    assert read_config(name, []).stage == "vae"
    assert sys.path == paths


def test_a_file_comes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    text = f"{BASE}def get_config(arg=''):\n    return stage_config('clap')"
    (tmp_path / "configs" / "vae.py").write_text(text)
    assert read_config("configs/vae.py", []).stage == "clap"
    for name in ("../vae", "nowhere", "nano", "", "vae.py/x", "/vae"):
        with pytest.raises(InputError, match="no such file|no path"):
            read_config(name, [])


@pytest.mark.parametrize("text", FILES)
def test_files_that_are_no_configuration(text, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(text)
    assert main(["train", f"--config={tmp_path / 'mine.py'}", "--workdir=x", "-q"]) == 2
    error = capsys.readouterr().err
    assert FILES[text] in error and "mine.py" in error
    assert error.startswith("error: ") and error.count("\n") == 1


def test_a_file_that_is_not_python(tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text("steps: 4")
    assert main(["train", f"--config={tmp_path / 'mine.yaml'}", "--workdir=x", "-q"]) == 2
    assert "a Python file, NAME.py, is expected" in capsys.readouterr().err


def test_the_docs_hold_the_table_of_stages():
    text = (ROOT / "docs" / "training.md").read_text()
    for name, info in STAGES.items():
        row = f"| {info.trains} | {info.needs} | {info.reads} |"
        assert f"`{name}.py`" in text and row in text, f"docs/training.md, stage {name}: {row}"


def test_starts_give_their_own_sizes():
    with pytest.raises(InputError, match="preset is 'nano': it has no effect"):
        read("joint", "base_checkpoint=somewhere", "preset=nano")
    assert isinstance(read("joint", "base_checkpoint=somewhere"), ConfigDict)
    assert open_base_checkpoint("", "tiny").model.gpt2
