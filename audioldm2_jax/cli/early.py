"""What can be told about `generate` before a model is loaded."""

from __future__ import annotations

import sys
from pathlib import Path

from audioldm2_jax import files
from audioldm2_jax.checkpoints import download
from audioldm2_jax.checkpoints.registry import FULL, OFFICIAL_FILES, OFFICIAL_NAMES, SPEECH
from audioldm2_jax.cli.device import check_device
from audioldm2_jax.errors import InputError


def check_options(options) -> None:
    """Raises InputError for the first option that no model could use."""
    from audioldm2_jax.checkpoints.hub import convention_named
    from audioldm2_jax.dtypes import parse_dtype
    from audioldm2_jax.loudness import check_loudness
    from audioldm2_jax.pipelines import request

    if options.ddim_steps is not None:
        if options.sampler not in (None, "ddim"):
            raise InputError(f"--ddim_steps means DDIM, but --sampler is {options.sampler}")
        options.sampler, options.steps = "ddim", options.ddim_steps
    request.check_count("candidates (-n)", options.candidates, 1)
    request.check_count("batchsize (-b)", options.batchsize, 1)
    request.check_count("seed", options.seed, -1)
    if options.guidance is not None:
        request.check_guidance(options.guidance)
        if options.negative_prompt and options.guidance <= 1:
            raise InputError(
                f"--negative_prompt: guidance is {options.guidance:g}, and 1 or less steers away "
                "from nothing"
            )
    options.loudness = check_loudness(options.loudness)
    convention_named(options.convention)
    check_device(options.device)
    if options.dtype is not None:
        parse_dtype(options.dtype)


def take_seed(options) -> None:
    """A seed in place of -1, which is printed: one for all batches of a list."""
    from audioldm2_jax.pipelines.request import draw_seed

    if options.seed == -1:
        options.seed = draw_seed(options.seed)
        print(f"seed: {options.seed}", file=sys.stderr)


def check_request(options, entries) -> None:
    """Raises InputError for what the model, as far as it is known without weights, cannot do."""
    from audioldm2_jax.checkpoints import hub
    from audioldm2_jax.diffusion.registry import make_schedule, sampler_named
    from audioldm2_jax.diffusion.timesteps import Timesteps
    from audioldm2_jax.phonemes import check_spoken
    from audioldm2_jax.pipelines import request
    from audioldm2_jax.presets import ModelConfig, ScheduleConfig

    name = OFFICIAL_NAMES.get(options.model, options.model)
    folder = _local(name)
    convention = hub.convention_named(options.convention)
    if name in {*OFFICIAL_NAMES.values(), *OFFICIAL_FILES, *FULL.values()} and folder is None:
        # Of published models it is known which ones speak, and what their schedule is.
        _check_speech(options, "ljspeech" in name or "gigaspeech" in name)
        schedule = ScheduleConfig()
        make_schedule(
            options.sampler or schedule.sampler,
            schedule,
            Timesteps(options.steps),
            eta=options.eta,
        )
        request.time_grid(options.seconds, ModelConfig(), convention)
    elif folder is None or folder.is_file():
        if options.sampler is not None:
            sampler_named(options.sampler)
        request.check_count("steps", options.steps, 1)
        request.time_grid(options.seconds, ModelConfig(), convention)
    else:
        _check_configured(options, entries, hub.read_config(folder, convention), convention)
    if options.transcription:
        check_spoken(options.transcription)


def _check_configured(options, entries, config, convention) -> None:
    """The same for a model whose configuration lies here."""
    import jax.numpy as jnp

    from audioldm2_jax.dtypes import parse_dtype
    from audioldm2_jax.pipelines import request
    from audioldm2_jax.pipelines.memory import check_model
    from audioldm2_jax.pipelines.run import check_fits

    _check_speech(options, config.phonemes is not None)
    prompts = [entry.prompt for entry in entries]
    checked = request.check(
        config,
        convention,
        prompt=prompts,
        negative_prompt=options.negative_prompt or None,
        transcription=options.transcription or None,
        seconds=options.seconds,
        steps=options.steps,
        sampler=options.sampler,
        eta=options.eta,
        guidance=options.guidance,
        candidates=options.candidates,
        seed=options.seed,
        first_clip=0,
    )
    if options.candidates > 1 and not config.has_audio_tower:
        raise InputError(
            f"--candidates {options.candidates}: {options.model} holds no CLAP audio tower to rank "
            "them by"
        )
    check_model(config, parse_dtype(options.dtype), options.model)
    # A quarter of the estimate: only what certainly cannot fit.
    clips = min(len(prompts), options.batchsize) * options.candidates
    width = jnp.dtype(parse_dtype(options.dtype)).itemsize
    least = request.working_memory(checked.grid.frames, config, width, clips) // 4
    check_fits(least, f"{clips} clips of {checked.grid.seconds:g} s")


def _local(name: str) -> Path | None:
    """The folder or the file of a model that lies here; None for a name of the hub."""
    if folder := download.bundled().get(name):
        return folder
    path = files.user_path(name)
    try:
        return path if path.exists() else None
    except OSError as error:
        raise files.cannot(path, "read", error) from None


def _check_speech(options, speaks: bool) -> None:
    if speaks and not options.transcription:
        raise InputError(f"{options.model} speaks: say what, with --transcription TEXT")
    if options.transcription and not speaks:
        raise InputError(
            f"--transcription: {options.model} does not speak; take a speech checkpoint, such as "
            f"{FULL[SPEECH]}"
        )
