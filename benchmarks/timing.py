"""Fair timings of two candidates: they alternate, and samples that other processes disturbed go."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import psutil

# Share of the machine's processor time that other processes may take during a clean sample.
FOREIGN = 0.08


def _clock():
    """Wall time, processor time of this process and its children, and that of the machine.

    Children that ended count too.
    """
    process, total = psutil.Process(), psutil.cpu_times()
    own = 0.0
    for member in (process, *process.children(recursive=True)):
        times = member.cpu_times()
        own += times.user + times.system + times.children_user + times.children_system
    busy = total.user + total.system + total.nice + total.softirq + total.irq + total.steal
    return time.perf_counter(), own, busy


class Sample(NamedTuple):
    """seconds: wall time. processor: seconds of this process and its children. foreign: the share
    of the machine that others took meanwhile.
    """

    seconds: float
    processor: float
    foreign: float


def measure(run) -> Sample:
    """Times one call."""
    begin = _clock()
    run()
    wall, own, busy = (b - a for a, b in zip(begin, _clock()))
    return Sample(wall, own, max(busy - own, 0.0) / (wall * psutil.cpu_count()))


def sample(run) -> tuple[float, float]:
    """Seconds that one call takes, and the share of the machine that others took meanwhile."""
    taken = measure(run)
    return taken.seconds, taken.foreign


def alternate(runs: Mapping[str, Callable], repeats: int) -> dict:
    """Medians of clean samples of each of `runs`, in seconds and in seconds of processors.

    Each waits a moment: the others' threads look for work for some time after their own.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            time.sleep(0.5)
            samples[name].append(measure(run))
    result = {}
    for name, taken in samples.items():
        clean = [one for one in taken if one.foreign <= FOREIGN]
        result[name] = statistics.median(one.seconds for one in clean or taken)
        result[f"{name}_processor"] = statistics.median(one.processor for one in clean or taken)
        result[f"{name}_samples"] = [round(one.seconds, 4) for one in taken]
        result[f"{name}_clean"] = f"{len(clean)}/{repeats}"
    return result


def compare(ours, theirs, repeats: int) -> dict:
    """`alternate` of two, and their ratio ours / theirs. One unmeasured call each."""
    ours(), theirs()
    result = alternate({"ours": ours, "theirs": theirs}, repeats)
    return result | {"ratio": result["ours"] / result["theirs"]}


def take_turns(runs: Mapping[str, Callable], repeats: int, least: float = 0.2) -> dict:
    """Seconds of a call of each of `runs` on an accelerator, whatever the host does meanwhile.

    {name: median, name_samples: all} of `repeats` samples, in turns. A sample is as many calls as
    take `least` seconds. The calls wait for their results, and have run before.
    """
    calls = {}
    for name, run in runs.items():
        begin = time.perf_counter()
        run()
        calls[name] = max(1, math.ceil(least / (time.perf_counter() - begin)))
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            begin = time.perf_counter()
            for _ in range(calls[name]):
                run()
            samples[name].append((time.perf_counter() - begin) / calls[name])
    medians = {name: statistics.median(taken) for name, taken in samples.items()}
    return medians | {f"{name}_samples": taken for name, taken in samples.items()}
