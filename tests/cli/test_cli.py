"""The command as users run it: in a process of its own where exit codes and streams matter."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from audioldm2_jax.cli.main import main
from audioldm2_jax.cli.prompts import read_list
from audioldm2_jax.data.untrained import write_random


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "tiny"
    write_random(folder, "tiny")
    return folder


def generate(*arguments):
    return main(["generate", *map(str, arguments)])


@pytest.mark.slow
def test_a_prompt_becomes_a_wav(folder, tmp_path):
    """A process without torch's help, nor the extra for speech: their modules are forbidden."""
    program = (
        "import sys; sys.modules |= dict.fromkeys(('torch', 'diffusers', 'phonemizer')); "
        "from audioldm2_jax.cli.main import main; sys.exit(main())"
    )
    command = [
        *(sys.executable, "-c", program, "generate", "-t", "a dog barks", "-dur", "0.6", "-n", "2"),
        *(
            "--model_name",
            str(folder),
            "-s",
            str(tmp_path / "out"),
            "--ddim_steps",
            "3",
            "-gs",
            "2",
        ),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "out" / "a_dog_barks.wav"
    assert done.stdout.strip() == str(path)
    audio, rate = soundfile.read(path)
    assert rate == 16000 and len(audio) == 15 * 640 + 32 and np.abs(audio).max() > 0.01
    record = json.loads(path.with_suffix(".json").read_text())
    assert (record["sampler"], record["steps"], record["guidance"]) == ("ddim", 3, 2.0)
    assert len(record["scores"]) == 2
    # Progress goes to stderr: loading, compiling, a bar, and no chatter of libraries.
    assert "loading" in done.stderr and "sampling: 100%" in done.stderr
    assert "torch" not in done.stderr.lower()


@pytest.mark.slow
def test_lists_are_named_batched_and_resumed(folder, tmp_path, capsys):
    listing = tmp_path / "list.txt"
    listing.write_text("a dog barks|dog\nrain | rain.wav\n\nwind|wind\n")
    common = ["-tl", listing, "--model_name", folder, "-dur", 0.5, "--steps", 1, "-q"]
    assert generate(*common, "-s", tmp_path / "a") == 0
    files = capsys.readouterr().out.split()
    assert [os.path.basename(f) for f in files] == ["dog.wav", "rain.wav", "wind.wav"]
    assert generate(*common, "-s", tmp_path / "b", "-b", 3) == 0
    for name in ("dog", "rain", "wind"):
        one, _ = soundfile.read(tmp_path / "a" / f"{name}.wav")
        other, _ = soundfile.read(tmp_path / "b" / f"{name}.wav")
        assert np.abs(one - other).max() < 1e-3, "the batch size must not change a clip"
    capsys.readouterr()
    (tmp_path / "a" / "rain.wav").unlink()
    assert generate(*common, "-s", tmp_path / "a", "--skip_existing") == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "a" / "rain.wav")]


@pytest.mark.slow
def test_one_output_file(folder, tmp_path, capsys):
    """Of any kind, at the loudness asked for, with a drawn seed that is told."""
    target = tmp_path / "new" / "bark.FLAC"
    common = ["-t", "a dog", "--model_name", folder, "-dur", 0.5, "--steps", 1, "-q"]
    assert generate(*common, "-o", target, "--loudness", -30, "--seed", -1) == 0
    assert sorted(p.name for p in target.parent.iterdir()) == ["bark.FLAC", "bark.json"]
    assert soundfile.info(target).format == "FLAC"
    record = json.loads((target.parent / "bark.json").read_text())
    assert f"seed: {record['seed']}\n" in capsys.readouterr().err
    assert record["loudness"] == -30 and record["lufs"] + record["gain_db"] == pytest.approx(-30)


@pytest.mark.slow
def test_the_same_sound_under_another_name_is_told(folder, tmp_path, capsys):
    common = ["-t", "rain", "--model_name", folder, "-dur", 0.5, "--steps", 1, "-s", tmp_path]
    (tmp_path / "rain.json").write_text("somebody else's")
    lines = []
    for more in ([], [], ["--loudness", "raw", "--format", "ogg"]):
        assert generate(*common, *more) == 0
        output = capsys.readouterr()
        lines.append([line for line in output.err.splitlines() if "same sound" in line])
    assert lines[0] == []
    assert "rain_3.wav is the same sound as rain_2.wav" in lines[1][0]
    assert "rain_4.ogg is the same sound as rain_2.wav" in lines[2][0]
    assert "--seed -1" in lines[1][0]
    first, second = (soundfile.read(tmp_path / f"rain_{i}.wav")[0] for i in (2, 3))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("names", [None, ["rain_99999999999.wav"]])
def test_a_large_number_in_a_name_costs_no_time(tmp_path, monkeypatch, names):
    """A date in the file's name, or in the prompt, is no number that we put there."""
    from types import SimpleNamespace

    from audioldm2_jax.cli import sound_files
    from audioldm2_jax.cli.main import build_parser

    path, reads = tmp_path / "rain_99999999999.wav", []

    def read_json(file):
        reads.append(file)
        assert len(reads) < 2000, "looks for files without end"
        if len(reads) > 1:
            raise sound_files.InputError(f"{file}: no such file")
        return {}

    monkeypatch.setattr(sound_files.files, "read_json", read_json)
    options = build_parser().parse_args(["generate", "-t", "rain"])
    output = SimpleNamespace(save=lambda *_, **__: [path])
    sound_files.save(output, options, tmp_path, names)
    assert (len(reads) > 1) == (names is None)


def test_pictures(folder, tmp_path):
    common = ["-t", "rain", "--model_name", folder, "-dur", 0.5, "--steps", 1, "-q"]
    assert generate(*common, "-s", tmp_path, "--pictures") == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rain.json", "rain.png", "rain.wav"]
    with Image.open(tmp_path / "rain.png") as picture:
        assert picture.size == (656, 274) and len(picture.getcolors()) > 8


BAD = [
    ([], "give a prompt with -t"),
    (["-t", "  "], "give a prompt with -t"),
    (["-t", "a", "-dur", "0"], "seconds is 0"),
    (["-t", "a", "-dur", "-2"], "seconds is -2"),
    (["-t", "a", "-dur", "nan"], "seconds is nan"),
    (["-t", "a", "-dur", "1e7"], "the longest clip is 86400 s"),
    (["-t", "a", "-dur", "1e305"], "the longest clip is 86400 s"),
    (["-t", "a", "--sampler", "magic"], "unknown sampler 'magic'"),
    (["-t", "a", "--steps", "0"], "steps is 0"),
    (["-t", "a", "--steps", "1001"], "steps is 1001"),
    (["-t", "a", "--ddim_steps", "0"], "steps is 0"),
    (["-t", "a", "--ddim_steps", "5", "--sampler", "heun"], "--ddim_steps means DDIM"),
    (["-t", "a", "-n", "0"], "candidates"),
    (["-t", "a", "-b", "0"], "batchsize"),
    (["-t", "a", "--seed", "-2"], "seed is -2"),
    (["-t", "a", "--seed", "4294967296"], "seed is 4294967296"),
    (["-t", "a", "-gs", "nan"], "guidance is nan"),
    (["-t", "a", "--dtype", "int8"], "unknown dtype 'int8'"),
    (["-t", "a", "--convention", "mine"], "unknown convention 'mine'"),
    (["-t", "a", "-d", "abacus"], "unknown device 'abacus'"),
    (["-t", "a", "-d", "7.5"], "auto cpu gpu cuda rocm tpu; -dur is the length"),
    (["-t", "a", "-o", "sound.txt"], "must end in one of .wav .flac .ogg .mp3"),
    (["-t", "a", "-o", "sound"], "must end in one of .wav .flac .ogg .mp3"),
    (["-t", "a", "-o", ".wav"], "must end in one of .wav .flac .ogg .mp3"),
    (["-t", "a", "-o", "x.wav", "-s", "out"], "takes the place of -s"),
    (["-t", "a", "-o", "x.wav", "--format", "ogg"], "is not of --format ogg"),
    (["-t", "a", "-o", "x" * 300 + ".wav"], "has 305 bytes"),
    (["-t", "a", "-o", "x" * 300 + "/a.wav"], "cannot write there (File name too long)"),
    (["-t", "a", "-o", "é" * 126 + ".wav"], "bytes, at most 255"),
    (["-t", "a", "--format", "m4a"], "format is 'm4a': choose one of wav flac ogg mp3"),
    (["-t", "a", "--loudness", "loud"], "loudness is 'loud': it must be auto, raw"),
    (["-t", "a", "--loudness", "nan"], "loudness is 'nan': it must be auto, raw"),
    (["-t", "a", "--loudness", "3"], "loudness is '3': it must be auto, raw"),
    (["-t", "a", "--skip_existing"], "--skip_existing: needs files with names"),
    (["-t", "a", "--eta", "0.5", "--sampler", "heun"], "only the sampler ddim uses it"),
    (["-t", "a", "--eta", "nan", "--sampler", "ddim"], "eta is nan"),
    (["-t", "a", "--steps", "3", "--sampler", "pndm"], "pndm: steps is 3"),
    (["-t", "a", "--negative", "b", "-gs", "1"], "negative_prompt: has no effect"),
    (["-t", "a", "--lora", "nofile"], "nofile: no such"),
    (["-t", "a", "--lora_strength", "0.5"], "lora_strength: there is no lora"),
    (["-t", "a", "--tokenizers", "."], "tokenizers .: are for an authors' file"),
    (["-t", "a", "--revision", "main"], "revision main: "),
    (["-t", "a", "--transcription", "hello"], "does not speak"),
    (["-t", "a", "--model", "nano-speech"], "nano-speech speaks: say what"),
    (["-t", "a", "--model", "audioldm2-speech-ljspeech"], "speaks: say what"),
    (["-t", "a", "--transcription", "x", "--model", "cvssp/audioldm2"], "does not speak"),
    (["-t", "a\udcff"], "--prompt 'a\\udcff': not UTF-8"),
    (["-t", "a", "--negative_prompt", "\udcff"], "--negative_prompt"),
    (["-t", "a", "--transcription", "\udcff"], "--transcription '\\udcff': not UTF-8"),
    (["-t", "a", "--model", "\udcff"], "\\udcff: no such folder"),
    (["-t", "a", "--model", "x" * 5000], "cannot read (File name too long)"),
    (["-t", "a", "--model_name", "/no/such/checkpoint"], "no such folder"),
    (["-t", "a", "--model_name", "someone/something"], "the hub cannot be reached"),
    (["-tl", "/no/such/list"], "/no/such/list: no such file"),
    (["-tl", "/dev/zero"], "/dev/zero: no ordinary file"),
    (["-tl", "/"], "/: no ordinary file"),
]


@pytest.mark.parametrize("arguments, message", BAD, ids=[" ".join(a) or "nothing" for a, _ in BAD])
def test_bad_input_is_one_line_and_exit_code_2(
    folder, tmp_path, capsys, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    target = [] if "-o" in arguments else ["-s", "new/out"]
    model = [] if {"--model_name", "--model"} & set(arguments) else ["--model_name", folder]
    code = generate(*model, *arguments, *target)
    err = capsys.readouterr().err
    assert code == 2
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and message in errors[0], err
    assert err.count("\n") == 1, err
    assert list(tmp_path.iterdir()) == [], "nothing may be written"


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "no prompts"),
        ("a|", "line 1: the file name behind | is empty"),
        ("ok|x\n|y", "line 2: the prompt is empty"),
        ("a|x\nb|X.wav", "stands twice"),
        ("a|x\nb", "of all prompts or of none"),
        ("a|../x", "must not hold a path"),
        ("a|/etc/x", "must not hold a path"),
        ("a|x\nb|x.flac", "stands twice"),
        ("a|é\nb|e\u0301", "stands twice"),
        ("a|x\nb|x.", "stands twice"),
        ("a|b|c", "more than one |"),
        ("a|x\x00", "control characters"),
        ("a|" + "x" * 251, "bytes, at most 255"),
        ("a|x\nb|.wav", "the file name '.wav' is empty"),
        (b"a\n\xff", "line 2 is not UTF-8"),
        ("a".encode("utf-16"), "line 1 is not UTF-8"),
    ],
)
def test_bad_lists(folder, tmp_path, capsys, content, message):
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "list.txt").write_bytes(content)
    code = generate("-tl", tmp_path / "list.txt", "--model_name", folder, "-s", tmp_path / "out")
    assert code == 2
    err = capsys.readouterr().err
    assert message in err and err.count("list.txt") == 1 and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_unwritable_folder(folder, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    code = generate("-t", "a", "--model_name", folder, "-s", tmp_path / "file" / "out")
    assert code == 2
    assert "cannot write there" in capsys.readouterr().err


LISTS = {
    "a byte-order mark": ("\ufeffa dog|x\nrain|y", [("a dog", "x.wav"), ("rain", "y.wav")]),
    "one within": ("a\n\ufeffb", [("a", None), ("b", None)]),
    "ends of lines": ("a\r\nb\rc\n\n d ", [("a", None), ("b", None), ("c", None), ("d", None)]),
    "no ends": ("a\u2028b\x85c\vd\fe\x1cf\u2029g", [("a\u2028b\x85c\vd\fe\x1cf\u2029g", None)]),
    "suffixes": ("a|x.wav.wav\nb|x.wav", [("a", "x.wav.wav"), ("b", "x.wav")]),
    "kinds": ("a|x.OGG\nb|y.flac", [("a", "x.OGG"), ("b", "y.flac")]),
    "any script": ("雨|雨の音", [("雨", "雨の音.wav")]),
}


@pytest.mark.parametrize("kind", LISTS)
def test_what_a_list_means(tmp_path, kind):
    content, entries = LISTS[kind]
    path = tmp_path / "list.txt"
    path.write_bytes(content.encode())
    assert [(e.prompt, e.name) for e in read_list(str(path))] == entries


def test_unknown_flags_and_help(capsys):
    for arguments in (["generate", "--stepz", "3"], ["nonsense"], [], ["generate", "--steps", "x"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(SystemExit) as caught:
        main(["generate", "--help"])
    assert caught.value.code == 0
    assert "--ddim_steps" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["a dog barks"], ["a", "dog", "barks"], ["-t", "a", "dog", "barks"]]
)
def test_a_prompt_without_its_option(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["generate", *arguments])
    assert caught.value.code == 2
    assert 'generate -t "a dog barks"' in capsys.readouterr().err


@pytest.mark.slow
def test_doctor(folder, capsys):
    assert main(["doctor", "--model_name", str(folder)]) == 0
    text = capsys.readouterr().out
    for word in ("device: cpu", "memory free", "compilation cache", "jax 0.", "parameters", "fits"):
        assert word in text
    for word in ("GB of weights", "GB to run", "GB free"):
        assert word in text
    assert main(["doctor", "--quick"]) == 0
    assert "parameters" not in capsys.readouterr().out
    assert main(["doctor", "--model_name", "tiny-48k", "--dtype", "bf16", "-n", "3"]) == 0
    text = capsys.readouterr().out
    assert "model tiny-48k: 2.1 M" in text and "3 clips of 10.24 s" in text


@pytest.mark.slow
def test_memory_is_said_before_a_run_and_refused_where_it_cannot_fit(
    folder, tmp_path, capsys, monkeypatch
):
    from audioldm2_jax.pipelines import memory, runner

    common = ["-t", "a dog", "--model_name", folder, "-dur", 0.5, "--steps", 1]
    assert generate(*common, "-s", tmp_path / "out") == 0
    err = capsys.readouterr().err
    assert err.index("memory: 0.01 GB of weights") < err.index("sampling")
    needed = measured(folder, tmp_path, monkeypatch)
    assert needed > 1e5, "the compiled program takes something"
    # Room for the weights and the first guess, not for the program.
    for free, message in ((needed - 1, "GB are free: ask for fewer"), (10, "its weights need")):
        for module in (memory, runner):
            monkeypatch.setattr(module, "available_memory", lambda _=None, free=free: free)
        if free > 10:
            monkeypatch.setattr(memory, "available_memory", lambda _=None: 10**9)
        assert generate(*common, "-s", tmp_path / "none") == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "none").exists()
    assert main(["doctor", "--model_name", str(folder)]) == 0
    assert "does NOT fit" in capsys.readouterr().out


def measured(folder, tmp_path, monkeypatch):
    """What the largest of the programs takes, as the runner checks it."""
    from audioldm2_jax.pipelines import runner

    needs = []
    check = runner.check_fits
    monkeypatch.setattr(
        runner, "check_fits", lambda needed, *more: (needs.append(needed), check(needed, *more))
    )
    common = ["-t", "a dog", "--model_name", folder, "-dur", 0.5, "--steps", 1]
    assert generate(*common, "-s", tmp_path / "measured") == 0
    monkeypatch.setattr(runner, "check_fits", check)
    return max(needs)


def test_a_result_that_is_not_finite_exits_with_3(folder, tmp_path, capsys):
    import jax.numpy as jnp

    from audioldm2_jax.checkpoints import hub

    checkpoint = hub.load(folder)
    bias = checkpoint.params["vae"]["post_quant"]
    bias["bias"] = jnp.full_like(bias["bias"], 3e38)
    hub.save(checkpoint, tmp_path / "broken")
    common = ["-t", "a", "--model", tmp_path / "broken", "-dur", 0.3, "--steps", 1, "-q"]
    assert generate(*common, "-s", tmp_path / "out") == 3
    err = capsys.readouterr().err
    assert err.startswith("error: the result holds NaN") and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_speech_from_the_command(tmp_path, capsys, monkeypatch):
    from audioldm2_jax.checkpoints import download

    speech = tmp_path / "speech"
    write_random(speech, "tiny-speech")
    common = ["--model_name", speech, "-dur", 0.5, "--steps", 1, "-q", "-s", tmp_path / "out"]
    assert generate("--transcription", "hello there", *common) == 0
    path = capsys.readouterr().out.strip()
    assert path.endswith("A_female_reporter_is_speaking_full_of-TTS-hello_there.wav")
    assert generate("-t", "a man", *common) == 2
    assert "speaks: say what" in capsys.readouterr().err
    monkeypatch.setattr(download, "bundled", lambda: {"nano-speech": speech})
    assert generate("--transcription", "hello there", *common[2:-3], "-s", tmp_path / "own") == 0
    stderr = capsys.readouterr().err
    assert "model: nano-speech" in stderr and "anhnct/audioldm2_gigaspeech" in stderr


@pytest.mark.slow
def test_official_names(capsys, tmp_path, monkeypatch):
    """They stand for repositories of the hub; where it holds a file alone, for that file."""
    from huggingface_hub import constants

    from audioldm2_jax.checkpoints.registry import OFFICIAL_FILES, resolve

    out = ("-s", tmp_path / "out")
    for name, repository in OFFICIAL_FILES.items():
        assert generate("-t", "a dog", "--model_name", name, *out) == 2
        assert f"{repository}: not a folder, not in the hub's cache" in capsys.readouterr().err
    cache = tmp_path / "hub" / "models--haoheliu--audioldm_48k"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("1" * 40)
    file = cache / "snapshots" / ("1" * 40) / "audioldm_48k.pth"
    file.parent.mkdir(parents=True)
    file.touch()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    assert resolve("audioldm_48k") == str(file)
    assert resolve("audioldm2-full") == "cvssp/audioldm2"


@pytest.mark.slow
def test_without_a_model_the_package_s_own_is_used(capsys, tmp_path, monkeypatch, folder):
    """And says so, with the line for one of full size."""
    from audioldm2_jax.checkpoints import download

    monkeypatch.setattr(download, "bundled", lambda: {"nano": folder})
    common = ["-t", "a dog", "-dur", 0.5, "--steps", 1, "-s", tmp_path / "out"]
    assert generate(*common) == 0
    output = capsys.readouterr()
    assert "model: nano" in output.err and "--model cvssp/audioldm2" in output.err
    record = json.loads(Path(output.out.strip()).with_suffix(".json").read_text())
    assert record["model"] == "nano"
    assert generate(*common, "-q") == 0
    assert "model:" not in capsys.readouterr().err
