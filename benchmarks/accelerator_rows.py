"""What `accelerator.py` measures in one process: rows of one model in one precision.

Weights are random and drawn on the device. diffusers' side is measured where it is installed.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import timing
import training
from accelerator_plan import COMPILED, LARGEST, Row, Size
from parts import PROMPT, Parts
from random_weights import drawn

from audioldm2_jax import Pipeline, backend, sharding, tree
from audioldm2_jax.checkpoints.parts import PARTS, parts_of
from audioldm2_jax.data.untrained import untrained_checkpoint
from audioldm2_jax.dtypes import parse_dtype
from audioldm2_jax.pipelines.runner import available_memory, needed_memory
from audioldm2_jax.presets import PRESETS
from audioldm2_jax.training import metrics
from audioldm2_jax.training.base_checkpoint import with_audiomae

COSTS = Path(__file__).parent / "results" / "costs.json"
# Rows of costs.json with the products and convolutions of one clip's training.
COST_ROWS = {"pretrain": "pretrain:{}:encoded", "joint": "joint:full:encoded"}
_NO_MEMORY = ("RESOURCE_EXHAUSTED", "out of memory", "beside the model", "its weights need")
_CACHE_HIT = "/jax/compilation_cache/cache_hits"


def about() -> dict:
    """The machine and the versions of packages."""
    device = jax.devices()[0]
    memory = (device.memory_stats() or {}).get("bytes_limit")
    versions = {"python": platform.python_version()}
    for name in ("jax", "jaxlib", "flax", "optax", "torch", "diffusers", "transformers"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "device": device.device_kind,
        "platform": backend.current().platform,
        "GB": memory and memory / 1e9,
        "cores": os.cpu_count(),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
        "versions": versions,
    }


class Session:
    """The two sides of one model in one precision, made when a row first needs them.

    begin: time.time() at which the process was started.
    """

    def __init__(self, model: str, dtype: str, size: Size, begin: float):
        self.model, self.dtype, self.size, self.begin = model, dtype, size, begin
        self.config = with_audiomae(PRESETS[size.presets[model]]())
        self._ours = self._theirs = None
        self._is_compiled = False
        self.missing = ""

    @property
    def ours(self) -> Pipeline:
        """Our pipeline with random weights, on one device."""
        if self._ours is None:
            dtype = parse_dtype(self.dtype)
            names = [name for name in parts_of(self.config) if name != "audiomae"]
            shapes = {name: PARTS[name].shapes(getattr(self.config, name)) for name in names}
            checkpoint = untrained_checkpoint(self.config, drawn(shapes, dtype))
            mesh = None
            if not backend.current().is_cpu:
                mesh = sharding.make_mesh(devices=jax.devices()[:1])
            self._ours = Pipeline(checkpoint, dtype, mesh=mesh)
        return self._ours

    def theirs(self, peer: str):
        """diffusers' pipeline with random weights; None, with the reason in `missing`."""
        if not peer or self.missing:
            return None
        try:
            if self._theirs is None:
                from torch_pipeline import random_pipeline

                self._theirs = random_pipeline(self.config, self.ours.tokenizers, self.dtype)
            if peer == COMPILED and not self._is_compiled:
                import torch

                self._theirs.unet, self._is_compiled = torch.compile(self._theirs.unet), True
        except Exception as error:  # any failure of theirs leaves our rows as they are
            self.missing = _line(error)
            return None
        return self._theirs

    def calls(self, row: Row) -> dict[str, Callable]:
        """{"ours": call, "theirs": call} of a part or of whole clips, compiled."""
        theirs = self.theirs(row.peer)
        if row.part == "clip":
            return self._clips(row.clips, theirs)
        frames = self.config.unet.sample_size if self.size.seconds > 10 else 16
        parts = Parts(self.ours, theirs, clips=row.clips, frames=frames)
        make = {
            "U-Net step": parts.unet_step,
            "VAE decode": parts.vae,
            "vocoder": parts.vocoder,
            "text encoders + LOA": parts.text,
        }
        return make[row.part]()

    def _clips(self, clips: int, theirs) -> dict[str, Callable]:
        """From prompts to waveforms on the host, other prompts in every call.

        Our first request is made here: `compile` of a row of clips holds it.
        """
        size, count = self.size, iter(range(10**9))
        ours, words = self.ours, PROMPT.split()

        def prompts():
            i = next(count)
            return [" ".join(words[(i + k) % 5 :]) for k in range(clips)]

        def run():
            sampling = {"seconds": size.seconds, "steps": size.steps}
            return ours(prompts(), seed=next(count), progress=False, **sampling)

        run()
        calls = {"ours": run}
        if theirs is not None:
            lengths = {"audio_length_in_s": size.seconds, "num_inference_steps": size.steps}
            calls["theirs"] = lambda: theirs(prompts(), **lengths).audios
        return calls


def measure(session: Session, row: Row) -> dict:
    """The record of a row: seconds of a call, of compilation and of first calls, memory."""
    if row.kind == "training":
        return _training(session, row)
    if row.clips == LARGEST:
        row = row._replace(clips=_largest(session))
    known = len(session.ours._runner._compiled)
    record, calls = _compile(lambda: session.calls(row))
    if row.part == "clip":
        record["since the process began"] = time.time() - session.begin
        record["second request"] = _seconds(calls["ours"])
    if row.kind == "start":
        return record | {"clips": row.clips, "ours": record["second request"]}
    for name, call in calls.items():
        record[f"{name} first call"] = _seconds(call)
    programs = list(session.ours._runner._compiled.values())[known:]
    if programs:
        needed = max(map(needed_memory, programs))
        record["GB predicted"] = (tree.nbytes(session.ours.params) + needed) / 1e9
    return record | _timed(session, row, calls)


def _training(session: Session, row: Row) -> dict:
    """One step on encoded clips, and its share of the card's peak."""
    config, dtype = session.config, session.dtype
    spec = training.spec_of(row.part, config, seconds=session.size.seconds, dtype=dtype)
    batch = random_batch(spec.batch, row.clips)
    frozen = training.constants_of(spec, config, dtype)
    record, step = _compile(lambda: training.ours_of(spec, frozen, batch))
    record["million parameters"] = step.parameters / 1e6
    analysis = step.compiled.memory_analysis()
    if analysis is not None:
        total = analysis.argument_size_in_bytes + analysis.temp_size_in_bytes
        total += analysis.output_size_in_bytes - analysis.alias_size_in_bytes
        record["GB predicted"] = total / 1e9
    calls = {"ours": step.run}
    if row.peer:
        try:
            calls["theirs"] = training.theirs_of(row.part, config, batch, dtype)[0]
        except Exception as error:  # theirs may be missing, or out of memory
            session.missing = _line(error)
    for name, call in calls.items():
        record[f"{name} first call"] = _seconds(call)
    record |= _timed(session, row, calls)
    return record | _utilisation(session, row, record["ours"])


def random_batch(spec, clips: int) -> dict[str, np.ndarray]:
    """Clips as an encoded corpus holds them, of a stage's `BatchSpec`."""
    rng, batch = np.random.default_rng(0), {}
    for name, shape in spec.arrays(precomputed=True).items():
        full = (clips, *shape.shape)
        if shape.dtype == jnp.bool_:
            batch[name] = np.ones(full, bool)
        elif jnp.issubdtype(shape.dtype, jnp.integer):
            batch[name] = rng.integers(5, 500, full).astype(np.int32)
        else:
            batch[name] = rng.standard_normal(full).astype(np.float32)
    return batch


def _utilisation(session: Session, row: Row, seconds: float) -> dict:
    """The FLOPs of a clip as `costs.py` counts them, and the share of the peak, where known."""
    key = COST_ROWS.get(row.part, "").format(session.model)
    stages = json.loads(COSTS.read_text())["stages"]
    limit = metrics.peak(jax.devices()[0].device_kind)
    if session.size.presets[session.model] != session.model or key not in stages or not limit:
        return {}
    flops = 1e12 * stages[key]["TFLOP"] * row.clips
    return {"TFLOP a clip": stages[key]["TFLOP"], "utilisation": flops / seconds / limit}


def _timed(session: Session, row: Row, calls: dict) -> dict:
    """Seconds of the calls, which take turns, and the process's highest memory so far."""
    size = session.size
    record = timing.take_turns(calls, size.repeats, size.least) | {"clips": row.clips}
    if "theirs" in record:
        record["ratio"] = record["ours"] / record["theirs"]
    elif row.peer:
        record["theirs missing"] = session.missing
    stats = jax.devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        record["GB peak of the process"] = stats["peak_bytes_in_use"] / 1e9
    return record


def _compile(make: Callable):
    """({"compile": seconds, "from the cache": programs}, the result of `make`)."""
    hits = []

    def count(event, **_):
        if event == _CACHE_HIT:
            hits.append(event)

    jax.monitoring.register_event_listener(count)
    begin = time.perf_counter()
    try:
        result = make()
    finally:
        jax.monitoring.unregister_event_listener(count)
    return {"compile": time.perf_counter() - begin, "from the cache": len(hits)}, result


def _largest(session: Session) -> int:
    """Clips whose programs fill nine tenths of the free memory, a multiple of eight.

    From what the largest batch compiled so far needs; 16 where nothing was.
    """
    programs = session.ours._runner._compiled.values()
    needed = max(map(needed_memory, programs), default=0)
    if not needed:
        return min(16, session.size.most)
    clips = int(16 * 0.9 * available_memory() / needed) // 8 * 8
    return max(1, min(clips, session.size.most))


def _seconds(call: Callable) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {text}"[:300]


def run(rows: list[Row], size: Size, until: float, begin: float) -> Iterator[tuple[str, dict]]:
    """(name, record) of every row that begins before `until`, time.time(); errors are records."""
    session = Session(rows[0].model, rows[0].dtype, size, begin)
    for row in rows:
        if time.time() >= until:
            return
        try:
            record = measure(session, row)
        except Exception as error:  # the next row may well be possible
            line = _line(error)
            is_memory = any(text in line for text in _NO_MEMORY)
            record = {"error": line, "out of memory": is_memory, "clips": row.clips}
        yield row.name, record
