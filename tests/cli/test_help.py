"""--help of every command, and examples that can be typed."""

import argparse
import re
import shlex

import pytest

from audioldm2_jax.cli import main as cli
from audioldm2_jax.diffusion import samplers
from audioldm2_jax.training.configuration import read_config

SUBPARSERS = cli.build_parser()._subparsers._group_actions[0].choices


def options(name):
    return [a for a in SUBPARSERS[name]._actions if a.dest != "help"]


@pytest.mark.parametrize("name", cli.NAMES)
def test_help_says_what_a_user_needs(name, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([name, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "Examples:\n  audioldm2-jax " in text
    for nothing in ("(default: None)", "(default: False)", "(default: )", "==SUPPRESS=="):
        assert nothing not in text
    # One statement of the default for each option.
    for block in re.split(r"\n  (?=-|[A-Z]+ )", text.partition("Examples:")[0]):
        assert block.count("default:") + block.count("; default ") <= 1, block


@pytest.mark.parametrize("name", cli.NAMES)
def test_every_option_has_help_and_a_value(name):
    for action in options(name):
        assert action.help and len(action.help) > 3, action.option_strings
        if action.nargs != 0:
            shown = action.metavar or action.choices
            assert shown, f"{action.option_strings}: what stands behind it?"


ENUMERATED = {
    "generate": ("dtype", "convention", "format", "sampler", "device", "loudness"),
    "doctor": ("dtype", "convention", "device"),
    "convert": ("weights", "convention", "dtype"),
    "soundscapes": ("voices",),
    "encode": ("dtype", "device"),
    "resynthesize": ("dtype", "device", "format"),
    "train": ("device",),
    "export": ("weights",),
}


@pytest.mark.parametrize("name", ENUMERATED)
def test_choices_are_listed(name):
    for dest in ENUMERATED[name]:
        (action,) = [a for a in options(name) if a.dest == dest]
        assert action.choices or re.fullmatch(r"\{[^{}]+,[^{}]+\}", action.metavar), dest


EXAMPLES = [(n, e.line) for n in cli.NAMES for e in cli.command(n).EXAMPLES]


@pytest.mark.parametrize("name, line", EXAMPLES, ids=[line[:60] for _, line in EXAMPLES])
def test_examples_parse(name, line):
    program, command, *arguments = shlex.split(line)
    assert program == "audioldm2-jax" and command == name
    _, extra = SUBPARSERS[name].parse_known_args(arguments)
    known = getattr(cli.command(name), "OVERRIDES", False)
    assert all(known and text.startswith("--config.") for text in extra), extra


@pytest.mark.parametrize("line", [line for _, line in EXAMPLES if " --config=" in line])
def test_examples_of_configurations_are_values_that_there_are(line):
    _, _, first, *rest = shlex.split(line)
    read_config(first.removeprefix("--config="), [t for t in rest if t.startswith("--config.")])


def test_the_overview_lists_every_command(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert "Examples:" in text
    for name in cli.NAMES:
        assert f"  {name} " in text and cli.summary(name) in text


def test_configurations_are_listed_and_exist():
    text = SUBPARSERS["train"].epilog
    assert "--config.NAME=VALUE" in text
    listed = re.findall(r"^  ([a-z]\w*(?:/\w+)?)(?::\{(.*)\})?$", text, re.MULTILINE)
    assert len(listed) > 10
    for file, kinds in listed:
        for kind in filter(None, kinds.split(",")):
            read_config(f"{file}:{kind}", [])


def test_help_follows_the_registries(capsys, monkeypatch):
    monkeypatch.setitem(samplers.SAMPLERS, "dummy-sampler", lambda config, timesteps: None)
    with pytest.raises(SystemExit):
        cli.main(["generate", "--help"])
    assert "dummy-sampler" in capsys.readouterr().out


PYTHON = {
    "prompt": ("-t", "--text"),
    "negative_prompt": ("--negative",),
    "transcription": ("--transcription",),
    "seconds": ("-dur", "--duration"),
    "steps": ("--steps",),
    "sampler": ("--sampler",),
    "eta": ("--eta",),
    "guidance": ("-gs", "--guidance_scale"),
    "candidates": ("-n", "--n_candidate_gen_per_text"),
    "seed": ("--seed",),
    "model": ("--model_name",),
    "loudness": ("--loudness",),
    "format": ("--format",),
    "pictures": ("--pictures",),
}


@pytest.mark.parametrize("name", PYTHON)
def test_options_have_the_name_of_their_parameter(name):
    """And the official command's names still work."""
    (action,) = [a for a in options("generate") if a.dest == name]
    assert f"--{name}" in action.option_strings
    for alias in PYTHON[name]:
        assert alias in action.option_strings
    for other in cli.NAMES:
        for action in options(other):
            if set(action.option_strings) & {f"--{name}", *PYTHON[name]} - {"--seed"}:
                assert action.dest == name, f"{other} calls it otherwise"


def test_the_names_are_those_of_python():
    import inspect

    from audioldm2_jax import Pipeline
    from audioldm2_jax.pipelines.output import Output

    python = {*inspect.signature(Pipeline.__call__).parameters}
    python |= {*inspect.signature(Output.save).parameters, "model"}
    assert set(PYTHON) <= python


def test_lines_are_broken_as_a_shell_reads_them():
    long = next(line for _, line in EXAMPLES if len(line) > 150)
    text = SUBPARSERS[long.split()[1]].epilog
    assert all(len(row) < 100 for row in text.splitlines())
    joined = " ".join(text.replace("\\\n", " ").split())
    assert " ".join(long.split()) in joined
    assert isinstance(SUBPARSERS["generate"], argparse.ArgumentParser)
