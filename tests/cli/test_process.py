"""What only a process of its own shows: devices, signals, pipes, full disks, names in bytes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from audioldm2_jax.cli.main import _repeated_interrupts
from audioldm2_jax.data.untrained import write_random

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("process") / "tiny"
    write_random(folder, "tiny")
    return folder


def start(*arguments, environment=(), blocks=None, **settings):
    """A running command. blocks: KiB that a file may have."""
    command = [sys.executable, "-m", "audioldm2_jax", *map(os.fsencode, map(str, arguments))]
    if blocks:
        command = ["bash", "-c", f'ulimit -f {blocks}; exec "$@"', "bash", *command]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | dict(environment)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | settings
    return subprocess.Popen(command, env=environment, **streams)


def finish(process):
    """(exit code, stdout, lines of stderr)"""
    out, err = process.communicate(timeout=240)
    return process.returncode, (out or b"").decode(), (err or b"").decode().splitlines()


def is_one_line(result, *words):
    code, out, err = result
    assert code == 2 and out == "" and len(err) == 1 and err[0].startswith("error: "), (out, err)
    for word in words:
        assert word in err[0], err


def test_devices_that_are_not_there(folder, tmp_path):
    """One line, whatever JAX does about it; libtpu, which tests have installed, stays silent."""
    common = ["generate", "-t", "a", "--model", folder, "-s", tmp_path / "out"]
    names = ("gpu", "cuda", "rocm")
    running = {name: start(*common, "-d", name) for name in names}
    presets = ("cuda", "nonsense", "nonsense,cpu")
    for preset in presets:
        running[preset + "!"] = start(*common, environment={"JAX_PLATFORMS": preset})
    running["doctor"] = start("doctor", "--quick", "-d", "gpu")
    results = {name: finish(process) for name, process in running.items()}
    for name in names:
        is_one_line(results[name], f"device {name}: not available here", "-d cpu")
    for preset in presets:
        is_one_line(results[preset + "!"], f"JAX_PLATFORMS={preset} is set")
    is_one_line(results["doctor"], "device gpu: not available here")
    assert not (tmp_path / "out").exists()


def test_nobody_hears_of_a_tpu_that_is_not_there():
    environment = dict.fromkeys(("TPU_ACCELERATOR_TYPE", "TPU_WORKER_HOSTNAMES"))
    environment = {k: v for k, v in os.environ.items() if k not in (*environment, "JAX_PLATFORMS")}
    command = [sys.executable, "-m", "audioldm2_jax", "doctor", "--quick"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr


@pytest.mark.slow
def test_names_in_bytes(folder, tmp_path):
    """Folders may hold any bytes; texts and what is printed are UTF-8."""
    strange = os.fsdecode(b"\xff\x1b[31m")
    common = ["--model", folder, "-dur", "0.5", "--steps", "1", "-q"]
    target = tmp_path / strange
    sound = start("generate", "-t", "rain", *common, "-s", target)
    ascii_only = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    listing = start("generate", "-tl", strange, *common, environment=ascii_only)
    prompt = start("generate", "-t", strange, *common)
    option = start("generate", f"--{strange}", *common)
    code, out, err = finish(sound)
    assert code == 0 and out.endswith("rain.wav\n") and "\\udcff" in out, (out, err)
    assert sorted(p.name for p in target.iterdir()) == ["rain.json", "rain.wav"]
    is_one_line(finish(listing), "\\udcff\\x1b[31m: no such file")
    is_one_line(finish(prompt), "--prompt", "not UTF-8")
    is_one_line(finish(option), "unrecognized arguments: --\\udcff\\x1b[31m")


@pytest.mark.slow
def test_ctrl_c(folder, tmp_path):
    common = ["--model", folder, "-dur", "0.5", "--steps", "1000", "--sampler", "ddpm"]
    process = start("generate", "-t", "rain", *common, "-s", tmp_path / "out")
    seen = b""
    while b"sampling" not in seen:
        seen += os.read(process.stderr.fileno(), 4096) or pytest.fail(seen.decode())
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert code == 130 and out == "" and err[-1].endswith("interrupted"), err
    assert "Traceback" not in "".join(err) and not (tmp_path / "out").exists()


def test_ctrl_c_in_a_callback_of_the_garbage_collector_comes_again():
    """Python would print it and go on."""

    class Swallowed:
        def __del__(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), _repeated_interrupts():
        Swallowed()
        time.sleep(5)


def test_a_closed_pipe():
    read, write = os.pipe()
    os.close(read)
    piped = start("doctor", "--quick", stdout=write)
    both = start("doctor", "--quick", stdout=write, stderr=write)
    os.close(write)
    full = os.open("/dev/full", os.O_WRONLY)
    filled = start("doctor", "--quick", stdout=full)
    os.close(full)
    assert finish(piped) == (1, "", [])
    assert finish(both)[0] == 1
    is_one_line(finish(filled), "No space left on device")


@pytest.mark.slow
def test_a_full_disk(folder, tmp_path):
    """Files may be 80 kB: a clip is larger, and what was there before stays."""
    target, listing = tmp_path / "out", tmp_path / "list.txt"
    target.mkdir()
    for name in ("short.wav", "short.json"):
        (target / name).write_text(f"old {name}")
    before = {p.name: p.read_bytes() for p in target.iterdir()}
    listing.write_text("rain|short\n")
    common = ["generate", "--model", folder, "--steps", "1", "-dur", "3", "-q", "-s", target]
    clip = start(*common, "-tl", listing, blocks=80)
    nothing = start(*common, "-t", "rain", blocks=1)
    code, out, err = finish(clip)
    is_one_line((code, out, err[-1:]), "short.wav: cannot write (File too large)")
    is_one_line(finish(nothing), "cannot write there (File too large)")
    assert {p.name: p.read_bytes() for p in target.iterdir()} == before
