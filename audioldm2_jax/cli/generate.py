"""Generate sound from text.

The flags of the official `audioldm2` command keep their names; each option also has the name of
its parameter in Python.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from audioldm2_jax.checkpoints.registry import DEFAULT, FULL, OFFICIAL_FILES, OFFICIAL_NAMES, SPEECH
from audioldm2_jax.cli import music
from audioldm2_jax.cli.device import add_device, add_memory, check_device, use_device
from audioldm2_jax.cli.help import Example, choices
from audioldm2_jax.cli.prompts import Entry, check_text, read_list
from audioldm2_jax.cli.sound_files import add_output, save, suffix_of, target_of
from audioldm2_jax.errors import InputError

EXAMPLES = (
    Example(
        'audioldm2-jax generate -t "two church bell tolls" --pictures',
        "output/two_church_bell_tolls.wav, with its record (.json) and spectrogram (.png)",
    ),
    Example(
        'audioldm2-jax generate -t "loud rain" -n 4 --seed -1 -o rain.flac',
        "the best of four by CLAP, of a seed that is drawn and printed, as FLAC",
    ),
    Example(
        'audioldm2-jax generate -t "a dog barks in the rain" --model cvssp/audioldm2 -dur 5',
        "five seconds of a published checkpoint, which is downloaded once (4.5 GB)",
    ),
    Example(
        "audioldm2-jax generate -tl prompts.txt -b 4 -s sounds --skip_existing",
        "a list, four at once; where lines are PROMPT|NAME, the list can be resumed",
    ),
    Example(
        'audioldm2-jax generate -t "rain" --model audioldm2-full --low_memory --quantize int8',
        "for a small card or a laptop: networks are in memory in turn, text encoders in 8 bits",
    ),
    Example(
        'audioldm2-jax generate -t "calm piano" --model facebook/musicgen-small -dur 8',
        "eight seconds of music by MusicGen's language model, which is downloaded once (2.4 GB)",
    ),
    Example(
        'audioldm2-jax generate -t "a man speaks slowly" --transcription "Seven letters."',
        "speech; needs pip install 'audioldm2-jax[tts]'",
    ),
)


def add_arguments(parser) -> None:
    """Adds the command's options to its parser."""
    _add_input(parser.add_argument)
    _add_model(parser.add_argument)
    add_output(parser.add_argument)
    skip = "leave out batches of a list whose named sounds all exist, to resume it"
    parser.add_argument("--skip_existing", action="store_true", help=skip)
    _add_sampling(parser.add_argument)
    add_device(parser)


def _add_input(add):
    text = "what to hear; of a speech checkpoint: the voice"
    add("-t", "--prompt", "--text", default="", metavar="TEXT", help=text)
    listing = "file with a prompt on each line; `prompt|name` also names the sound's file"
    add("-tl", "--text_list", default="", metavar="FILE", help=listing)
    spoken = "what a speech checkpoint says; -t then describes the voice"
    add("--transcription", default="", metavar="TEXT", help=spoken)
    away = "what to steer away from, for all prompts"
    add("--negative_prompt", "--negative", default="", metavar="TEXT", help=away)


def _add_model(add):
    from audioldm2_jax.dtypes import DTYPES
    from audioldm2_jax.presets import CONVENTIONS

    names = ", ".join((*OFFICIAL_NAMES, *OFFICIAL_FILES))
    model = (
        "checkpoint: a folder in the hub layout, a hub id, one of the authors' files, or an "
        f"official name ({names}); default {DEFAULT} or, with --transcription, {SPEECH}, which "
        "are small and come with the package"
    )
    add("--model", "--model_name", default=None, metavar="NAME", help=model)
    add("--revision", default=None, metavar="REV", help="branch, tag or commit of a hub id")
    variant = "of a folder's weights, such as fp16; default the plain ones, or the only ones"
    add("--variant", default=None, metavar="NAME", help=variant)
    tokenizers = "for an authors' file: folder in the hub layout to take tokenizers from"
    add("--tokenizers", default=None, metavar="DIR", help=tokenizers)
    changes = "low-rank changes to add: a file of `audioldm2-jax export`, diffusers or PEFT"
    add("--lora", default=None, metavar="FILE", help=changes)
    strength = "how much of them; 1 is as trained"
    add("--lora_strength", type=float, default=1.0, metavar="X", help=strength)
    dtype = "of weights and activations; default bf16 on GPU and TPU, fp32 on CPU"
    add("--dtype", default=None, metavar=choices(DTYPES), help=dtype)
    add_memory(add)
    reading = "authors: read the weights as they were trained; diffusers: as diffusers does"
    add("--convention", default="authors", metavar=choices(CONVENTIONS), help=reading)


def _add_sampling(add):
    from audioldm2_jax.diffusion.registry import SAMPLERS

    seconds = "length of a clip; default as trained: 10.24, of nano 2.56, of MusicGen 30"
    names = ("-dur", "--seconds", "--duration")
    add(*names, type=float, default=None, metavar="SECONDS", help=seconds)
    count = "clips made for each prompt, of which CLAP picks the best"
    names = ("-n", "--candidates", "--n_candidate_gen_per_text")
    add(*names, type=int, default=1, metavar="N", help=count)
    scale = (
        "larger follows the text more closely, 1 or less not guided; default the model's own: 3.5, "
        "AudioLDM 2.5, MusicGen 3"
    )
    names = ("-gs", "--guidance", "--guidance_scale")
    add(*names, type=float, default=None, metavar="SCALE", help=scale)
    sampler = "default the model's own, mostly dpm++2m"
    add("--sampler", default=None, metavar=choices(SAMPLERS), help=sampler)
    add("--steps", type=int, default=25, metavar="N", help="sampling steps")
    ddim = "the same as --sampler ddim --steps N"
    add("--ddim_steps", type=int, default=None, metavar="N", help=ddim)
    eta = "noise of ddim: 0 deterministic (the default), 1 as the authors ran it"
    add("--eta", type=float, default=0.0, metavar="ETA", help=eta)
    heat = "of a language model's draws: 0 takes the likeliest tokens; default 1"
    add("--temperature", type=float, default=None, metavar="T", help=heat)
    likeliest = "of a language model: how many of the likeliest tokens are drawn from; default 250"
    add("--top_k", type=int, default=None, metavar="K", help=likeliest)
    share = "of a language model: the probability of those tokens together; default 1, no limit"
    add("--top_p", type=float, default=None, metavar="P", help=share)
    seed = "the same seed gives the same clips; -1 draws one and prints it"
    add("--seed", type=int, default=0, metavar="N", help=seed)
    add("-b", "--batchsize", type=int, default=1, metavar="N", help="prompts generated at once")


def advice(options) -> str | None:
    """Advice on arguments without an option: most likely a prompt without -t or quotes."""
    extra = options.overrides
    if any(text.startswith("-") for text in extra):
        return None
    text = " ".join(([options.prompt] if options.prompt else []) + extra)
    return f'a prompt stands in quotes behind -t: audioldm2-jax generate -t "{text}"'


def run(options) -> int:
    """Runs the command; returns the exit code. Raises InputError."""
    from audioldm2_jax import Pipeline

    entries = _entries(options)
    _check_options(options)
    folder, names = _target(options, entries)
    is_default = options.model is None
    if is_default:
        options.model = SPEECH if options.transcription else DEFAULT
    use_device(options.device)
    opened = _open(options)
    is_music = music.is_music(opened.config)
    check = music.check_request if is_music else _check_request
    request = check(options, entries, opened)
    if is_default and not options.quiet:
        _print_default(options)
    if options.seed == -1:
        print(f"seed: {request.clips[0].seed}", file=sys.stderr)
    if is_music:
        pipe: Any = music.load(opened)
    else:
        pipe = Pipeline.from_opened(opened, low_memory=options.low_memory)
    for start in range(0, len(entries), options.batchsize):
        stop = min(start + options.batchsize, len(entries))
        batch_names = names and names[start:stop]
        if options.skip_existing and all((folder / name).exists() for name in batch_names):
            continue
        if len(entries) > options.batchsize and not options.quiet:
            print(f"prompts {start + 1} to {stop} of {len(entries)}", file=sys.stderr)
        output = pipe.run(request.part(start, stop), progress=not options.quiet)
        save(output, options, folder, batch_names)
    return 0


def _open(options):
    """The checkpoint, of which only the configuration is read yet. Raises InputError."""
    from audioldm2_jax.pipelines.loading import open_checkpoint

    return open_checkpoint(
        options.model,
        options.dtype,
        options.convention,
        revision=options.revision,
        variant=options.variant,
        tokenizers=options.tokenizers,
        lora=options.lora,
        lora_strength=options.lora_strength,
        quantize=options.quantize,
        families=music.families(),
        progress=not options.quiet,
    )


def _check_request(options, entries: list[Entry], opened):
    """The request of all entries. Raises InputError for what the model or the device cannot do."""
    from audioldm2_jax.phonemes import check_spoken
    from audioldm2_jax.pipelines.memory import check_memory, check_model
    from audioldm2_jax.pipelines.request import check_request

    music.refuse_draws(options, opened.source)
    request = check_request(
        opened.config,
        opened.convention,
        prompt=[entry.prompt for entry in entries],
        negative_prompt=options.negative_prompt or None,
        transcription=options.transcription or None,
        seconds=options.seconds,
        steps=options.steps,
        sampler=options.sampler,
        eta=options.eta,
        guidance=options.guidance,
        candidates=options.candidates,
        seed=options.seed,
        source=opened.source,
    )
    if options.transcription:
        check_spoken(options.transcription)
    model = opened.config, opened.dtype
    low_memory, first = options.low_memory, request.part(0, options.batchsize)
    check_model(*model, opened.source, quantize=options.quantize, low_memory=low_memory)
    check_memory(opened.config, first, opened.dtype, low_memory=low_memory)
    return request


def _check_options(options) -> None:
    """Raises InputError for the first option that no model could use."""
    from audioldm2_jax.dtypes import parse_dtype
    from audioldm2_jax.loudness import check_loudness
    from audioldm2_jax.models.int8 import check_quantize
    from audioldm2_jax.pipelines.values import check_count

    if options.ddim_steps is not None:
        if options.sampler not in (None, "ddim"):
            raise InputError(f"--ddim_steps means DDIM, but --sampler is {options.sampler}")
        options.sampler, options.steps = "ddim", options.ddim_steps
    check_count("batchsize (-b)", options.batchsize, 1)
    options.loudness = check_loudness(options.loudness)
    check_device(options.device)
    check_quantize(options.quantize)
    if options.dtype is not None:
        parse_dtype(options.dtype)


def _print_default(options) -> None:
    """Tells that a bundled model is used, and which command takes one of full size."""
    request = '--transcription "..."' if options.transcription else '-t "..."'
    print(
        f"model: {options.model}, the small one of the package, trained on synthesised sound; "
        f"of full size: audioldm2-jax generate {request} --model {FULL[options.model]}",
        file=sys.stderr,
    )


def _entries(options) -> list[Entry]:
    """Prompts from -t or -tl. Raises InputError for texts and lists that cannot be used."""
    from audioldm2_jax.pipelines.request import VOICE

    for option in ("prompt", "transcription", "negative_prompt"):
        check_text(f"--{option}", getattr(options, option))
    text = options.prompt.strip()
    if options.transcription and not text and not options.text_list:
        return [Entry(VOICE)]
    if bool(text) == bool(options.text_list):
        raise InputError("give a prompt with -t TEXT, or a list of prompts with -tl FILE")
    if text:
        return [Entry(text)]
    return read_list(options.text_list, suffix_of(options))


def _target(options, entries) -> tuple[Path, list[str] | None]:
    """Folder and file names, checked to be writable. Raises InputError."""
    names = [entry.name for entry in entries]
    names = None if None in names else names
    if options.skip_existing and names is None and options.output is None:
        raise InputError("--skip_existing: needs files with names: -o, or a list of PROMPT|NAME")
    return target_of(options, names, len(entries))
