"""The law of every input: an answer, or one line that says what is wrong; nothing else changes."""

from __future__ import annotations

import contextlib
import csv
import faulthandler
import io
import logging
import os
import re
import resource
import signal
import sys
import threading
import time
import traceback
import warnings
from pathlib import Path

import ml_dtypes
import numpy as np

import audioldm2_jax
from audioldm2_jax.errors import InputError

PACKAGE = str(Path(audioldm2_jax.__file__).parent)
MEMORY = 1 << 30  # bytes that one small case may take at most
_UNSAFE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\ud800-\udfff]")


class Broken(AssertionError):
    """A case that breaks the law; signature: the same for cases of one cause."""

    def __init__(self, message: str, signature: str):
        super().__init__(message)
        self.signature = signature


class Hang(BaseException):
    """Raised into a case that takes too long."""


def require(truth, what: str, shown: str = "") -> None:
    if not truth:
        raise Broken(f"{what}: {shown[-1500:]}" if shown else what, what)


def check_message(text: str) -> None:
    """One line of at most 2000 printable characters."""
    require(text.strip(), "empty message")
    require("\n" not in text.strip(), "message of several lines", text)
    require(not _UNSAFE.search(text), "control characters in the message", repr(text))
    require(len(text) <= 2000, "message too long", text)


def command(*arguments) -> str:
    """Runs the command in this process; returns stdout. Raises InputError for exit code 2.

    Raises Broken for other ends, several lines of error, or what no terminal can print.
    """
    from audioldm2_jax.cli.main import main

    out = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    err = io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace", write_through=True)
    # Handlers of libraries may hold a stream of an earlier test, closed by now.
    code, logging.raiseExceptions = None, False
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(a) for a in arguments])
        except SystemExit as caught:
            code = caught.code
        finally:
            logging.raiseExceptions = True
    text, stderr = (stream.buffer.getvalue().decode() for stream in (out, err))
    require(code in (0, 2), f"exit code {code!r}", stderr)
    require("Traceback" not in stderr, "traceback on stderr", stderr)
    if code == 0:
        return text
    errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
    require(len(errors) == 1, f"{len(errors)} lines of error", stderr)
    require(stderr.rstrip("\n").endswith(errors[0]), "the error is not one last line", stderr)
    check_message(errors[0])
    raise InputError(errors[0].partition("error: ")[2])


def innermost(error: BaseException) -> str:
    """The deepest frame that is the package's."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if f.filename.startswith(PACKAGE)] or frames
    name = own[-1].filename.removeprefix(PACKAGE + "/")
    return f"{name}:{own[-1].lineno} {own[-1].name}"


def lawful(run, limit: float, memory: int = MEMORY) -> str:
    """Runs a case; what it is refused with, "" for an answer. Raises Broken.

    limit: seconds; memory: bytes that it may take.
    """
    before, held = _state(), _peak(reset=True)
    try:
        with _bounded(limit, memory):
            run()
        refusal = ""
    except InputError as error:
        check_message(str(error))
        refusal = str(error)
    except Broken:
        raise
    except (Hang, Exception) as error:
        line = (str(error).strip().splitlines() or [""])[0][:300]
        where = innermost(error)
        kind = type(error).__name__
        raise Broken(f"{kind} at {where}: {line!r}", f"{kind} at {where}") from error
    taken = _peak() - held
    require(taken <= memory, f"more than {memory >> 20} MB of memory", f"{taken >> 20} MB")
    changed = [k for k, v in _state().items() if v != before[k]]
    require(not changed, f"process-wide state changed: {' '.join(changed)}")
    return refusal


@contextlib.contextmanager
def _bounded(limit: float, memory: int):
    """Raises Hang after `limit` seconds; allocations far beyond `memory` fail."""

    begin = last = time.process_time()

    def ring(*_):
        # A machine with more to do gives less: what still computes has `limit` of the processor.
        nonlocal last
        before, last = last, time.process_time()
        if last - before < 0.02 * limit or last - begin > limit:
            raise Hang(f"more than {limit:g} s")

    assert threading.current_thread() is threading.main_thread()
    old = signal.signal(signal.SIGALRM, ring)
    # Compilers and threads reserve addresses that they never fill.
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + 4 * memory, hard))
    # Again and again: what catches every exception must not swallow the only one.
    signal.setitimer(signal.ITIMER_REAL, limit, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGALRM, old)


@contextlib.contextmanager
def released(folder: Path, limit: float):
    """Opens the pipes below `folder` when a case hangs: code in C++ may wait for their writers.

    What hangs for other reasons ends the whole run with the places where its threads are.
    """

    def release():
        for path in folder.rglob("*"):
            if path.is_fifo():
                os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))

    timer = threading.Timer(4 * limit + 1, release)
    timer.start()
    faulthandler.dump_traceback_later(20 * limit + 60, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        timer.cancel()


def _status(name: str) -> int:
    """Bytes of an entry of /proc/self/status."""
    text = Path("/proc/self/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+) kB", text)[1]) << 10


def _peak(reset: bool = False) -> int:
    """The largest memory of this process, since the last reset."""
    if reset:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    return _status("VmHWM")


def _state() -> dict:
    """What no input may change in the process."""
    kinds = [np.dtype(t) for t in ("f2", "f4", "f8", "i4", "i8", "u1", "?", ml_dtypes.bfloat16)]
    return {
        "dtypes": [(t.str, t.name, t.names, t.shape, t.metadata, t.alignment) for t in kinds],
        "environment": {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")},
        "folder": os.getcwd(),
        "sys.path": list(sys.path),
        "signals": [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)],
        "csv": csv.field_size_limit(),
        "recursion": sys.getrecursionlimit(),
        "digits": sys.get_int_max_str_digits(),
        "errstate": np.geterr(),
        "warnings": len(warnings.filters),
    }
