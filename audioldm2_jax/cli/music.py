"""What `generate` and `doctor` do with a language model, MusicGen."""

from __future__ import annotations

from audioldm2_jax.errors import InputError

# {option that means nothing to it: (its default, why)}.
_REFUSED = {
    "negative_prompt": ("", "steers away from silence alone"),
    "transcription": ("", "makes music, and does not speak"),
    "sampler": (None, "draws tokens, and has no sampler of diffusion"),
    "steps": (25, "takes as many steps as the clip has frames"),
    "ddim_steps": (None, "draws tokens, and has no sampler of diffusion"),
    "eta": (0.0, "draws tokens, and has no sampler of diffusion"),
    "convention": ("authors", "is read in one way"),
    "tokenizers": (None, "has its own"),
    "lora": (None, "takes no low-rank changes"),
    "low_memory": (False, "needs its networks together"),
}


def families() -> tuple[str, ...]:
    """The families that `generate` runs: latent diffusion's, and MusicGen."""
    from audioldm2_jax.checkpoints.families import FAMILIES, MUSICGEN

    diffusion = (name for name, family in FAMILIES.items() if "unet" in family.parts)
    return *diffusion, MUSICGEN.name


def is_music(config) -> bool:
    """Whether a configuration is MusicGen's."""
    from audioldm2_jax.checkpoints.families import MUSICGEN

    return config.family == MUSICGEN.name


def check_request(options, entries, opened):
    """The request of all entries of `generate`.

    Raises InputError for what the model or the device cannot do.
    """
    from audioldm2_jax.pipelines.memory import check_model
    from audioldm2_jax.pipelines.music_request import check_music_request
    from audioldm2_jax.pipelines.streams import check_music_memory

    for name, (default, reason) in _REFUSED.items():
        value = getattr(options, name)
        if value != default:
            shown = "" if value is True else f" {value}"
            raise InputError(f"--{name}{shown}: {opened.source} {reason}; leave it out")
    request = check_music_request(
        opened.config,
        prompt=[entry.prompt for entry in entries],
        seconds=options.seconds,
        guidance=options.guidance,
        candidates=options.candidates,
        seed=options.seed,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        source=opened.source,
    )
    check_model(opened.config, opened.dtype, opened.source, quantize=options.quantize)
    check_music_memory(opened.config, request.part(0, options.batchsize), opened.dtype)
    return request


def refuse_draws(options, source: str) -> None:
    """Raises InputError for an option of language models that was given with another model."""
    for name in ("temperature", "top_k", "top_p"):
        if (value := getattr(options, name)) is not None:
            raise InputError(
                f"--{name} {value}: is for a language model such as facebook/musicgen-small, and "
                f"{source} is none; leave it out"
            )


def load(opened):
    """The pipeline of an opened checkpoint."""
    from audioldm2_jax.pipelines.musicgen import MusicGen

    return MusicGen.from_opened(opened)


def demand(options, config, dtype):
    """(the clips of `doctor` in words, a function that compiles for them: (bytes of all, a line)).

    Raises InputError for values that cannot be used.
    """
    from audioldm2_jax.pipelines.memory import memory_line
    from audioldm2_jax.pipelines.music_request import check_music_request
    from audioldm2_jax.pipelines.streams import estimate
    from audioldm2_jax.pipelines.values import check_count

    if options.low_memory:
        raise InputError(f"--low_memory: {options.model} {_REFUSED['low_memory'][1]}; leave it out")
    prompts = ["x"] * check_count("candidates", options.candidates, 1)
    request = check_music_request(config, prompt=prompts, seconds=options.seconds)

    def compile_programs():
        settings = {"quantize": options.quantize, "progress": True}
        weights, needed = estimate(config, request, dtype, **settings)
        return weights + needed, memory_line(weights, needed)

    return clips_of(len(prompts), request.frames / config.frame_rate), compile_programs


def clips_of(count: int, seconds: float) -> str:
    """So many clips of this length, in words."""
    return f"{count} clip{'s' * (count > 1)} of {seconds:g} s"
