"""`--low_memory` and `--quantize int8`: what each stage takes. This CPU stands for the chip."""

import dataclasses
import json

import jax
import jax.numpy as jnp

from audioldm2_jax import tree
from audioldm2_jax.cli.main import main
from audioldm2_jax.pipelines import memory, parts
from audioldm2_jax.pipelines.batch import latents_shape
from audioldm2_jax.pipelines.durations import exact_duration
from audioldm2_jax.presets import CONVENTIONS, PRESETS, ModelConfig
from audioldm2_jax.rehearsal import sampling
from audioldm2_jax.rehearsal.chips import compile_there
from audioldm2_jax.rehearsal.hlo import parse

COMMAND = ["rehearse", "--topology=v5e:1x1", "--model=tiny-audioldm", "--seconds=0.32"]


def small() -> ModelConfig:
    """A model that compiles in few seconds."""
    config = PRESETS["tiny-audioldm"]()
    level = {"channels": (32,), "attention": (False,), "heads": (1,), "depths": (1,)}
    unet = dataclasses.replace(config.unet, contexts=((None,),), **level)
    vocoder = dataclasses.replace(config.vocoder, block_kernels=(3,), dilations=((1,),))
    return dataclasses.replace(config, unet=unet, vocoder=vocoder)


def test_the_stages_and_the_largest(monkeypatch, capsys):
    """Two clips of three steps, in two threads of this CPU in place of the chip."""
    config, options = small(), ["--low_memory", "--quantize=int8", "--steps=3", "-b=2"]
    monkeypatch.setattr(sampling, "devices_of", lambda topology: jax.devices()[:1])
    monkeypatch.setattr(sampling, "named_config", lambda name: config)
    assert main([*COMMAND, *options]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    stages = report["stages"]
    shapes, plain = (memory.model_shapes(config, jnp.bfloat16, q) for q in ("int8", None))
    weights, in_bf16 = parts.stage_bytes(shapes), parts.stage_bytes(plain)
    frames = exact_duration(0.32, config, CONVENTIONS["authors"]).frames
    latents_bytes = tree.nbytes(jax.ShapeDtypeStruct(latents_shape(config, frames, 2), jnp.float32))
    for stage, size in weights.items():
        assert stages[stage]["GB weights"] == size / 1e9
        assert size + latents_bytes < 1e9 * stages[stage]["GB total"] < report["GB chip"] * 1e9
        assert f"{stage}: weights {size / 1e9:.2f}, at most" in err
    assert report["GB total"] == max(stage["GB total"] for stage in stages.values())
    assert report["kernels"] == sum(stage["kernels"] for stage in stages.values())
    assert report["fits"] and report["quantize"] == "int8" and report["steps"] == 3
    # Eight bits make CLAP smaller; the U-Net runs six times.
    assert weights["text encoders"] < 0.7 * in_bf16["text encoders"]
    assert stages["U-Net"]["categories"]["convolution"]["kernels"] % 6 == 0
    assert stages["text encoders"]["categories"]["gemm"]["kernels"] % 2 == 0


def test_source_lines_are_of_this_compilation(tmp_path, monkeypatch):
    """Whatever a persistent cache holds of the same program, compiled from elsewhere."""
    settings = {
        "jax_compilation_cache_dir": str(tmp_path),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    # One program from three lines; JAX keeps what it has compiled of a function.
    elsewhere = lambda x: x @ x  # noqa: E731
    here = lambda x: x @ x  # noqa: E731
    later = lambda x: x @ x  # noqa: E731
    x = jax.ShapeDtypeStruct((33, 33), "float32")

    def lines(compiled):
        module = parse(compiled.as_text())
        instructions = (i for c in module.computations.values() for i in c.values())
        return {s for i in instructions if (s := module.source(i)).startswith(__file__)}

    try:
        for name, value in settings.items():
            jax.config.update(name, value)
        first = lines(jax.jit(elsewhere).lower(x).compile())
        written = sorted(tmp_path.iterdir())
        assert len(first) == 1 and written
        own = lines(compile_there(jax.jit(here).lower(x)))
        assert len(own) == 1 and own != first
        assert sorted(tmp_path.iterdir()) == written
        # Afterwards the cache serves again, with its own lines.
        assert lines(jax.jit(later).lower(x).compile()) == first
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
