"""Fair timings of two candidates: they alternate, and samples that other processes disturbed go."""

from __future__ import annotations

import statistics
import time

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


def sample(run) -> tuple[float, float]:
    """Seconds that one call takes, and the share of the machine that others took meanwhile."""
    begin = _clock()
    run()
    wall, own, busy = (b - a for a, b in zip(begin, _clock()))
    return wall, max(busy - own, 0.0) / (wall * psutil.cpu_count())


def compare(ours, theirs, repeats: int) -> dict:
    """Medians of clean samples in seconds, their ratio ours / theirs. One unmeasured call each.

    Each waits a moment: the other's threads look for work for some time after their own.
    """
    ours(), theirs()
    samples = {"ours": [], "theirs": []}
    for _ in range(repeats):
        for name, run in (("ours", ours), ("theirs", theirs)):
            time.sleep(0.5)
            samples[name].append(sample(run))
    result = {}
    for name, taken in samples.items():
        clean = [wall for wall, foreign in taken if foreign <= FOREIGN]
        result[name] = statistics.median(clean or [wall for wall, _ in taken])
        result[f"{name}_samples"] = [round(wall, 4) for wall, _ in taken]
        result[f"{name}_clean"] = f"{len(clean)}/{repeats}"
    result["ratio"] = result["ours"] / result["theirs"]
    return result
