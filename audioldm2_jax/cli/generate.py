"""Generate sound from text.

The flags of the official `audioldm2` command keep their names; each option also has the name of
its parameter in Python.
"""

from __future__ import annotations

import sys
from pathlib import Path

from audioldm2_jax import files
from audioldm2_jax.checkpoints.registry import DEFAULT, FULL, OFFICIAL_FILES, OFFICIAL_NAMES, SPEECH
from audioldm2_jax.cli.device import add_device, add_memory, check_device, use_device
from audioldm2_jax.cli.help import Example, choices
from audioldm2_jax.cli.prompts import Entry, check_text, read_list
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
        'audioldm2-jax generate -t "a man speaks slowly" --transcription "Seven letters."',
        "speech; needs pip install 'audioldm2-jax[tts]'",
    ),
)


def add_arguments(parser) -> None:
    """Adds the command's options to its parser."""
    _add_input(parser.add_argument)
    _add_model(parser.add_argument)
    _add_output(parser.add_argument)
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


def _add_output(add):
    from audioldm2_jax.audio import FORMATS

    folder = "folder for the sounds and their records (.json); default ./output"
    add("-s", "--save_path", default=None, metavar="DIR", help=folder)
    single = f"file of a single prompt's sound, in place of -s: {' '.join(FORMATS)}"
    add("-o", "--output", default=None, metavar="FILE", help=single)
    kinds = "kind of sound file where the name does not say it; default wav (16 bit)"
    add("--format", default=None, metavar=choices(kind[1:] for kind in FORMATS), help=kinds)
    loudness = (
        "auto: clips within 5 LU of -23 LUFS; a number: that many LUFS, such as -18 (both keep "
        "peaks 1 dB below full scale); raw: what the network made, cut at full scale"
    )
    add("--loudness", default="auto", metavar="{auto,raw,LUFS}", help=loudness)
    picture = "also write a picture of each clip's mel spectrogram (.png)"
    add("--pictures", action="store_true", help=picture)
    skip = "leave out batches of a list whose named sounds all exist, to resume it"
    add("--skip_existing", action="store_true", help=skip)
    add("-q", "--quiet", action="store_true", help="no progress, only the files written")


def _add_sampling(add):
    from audioldm2_jax.diffusion.registry import SAMPLERS

    seconds = "length of a clip; default as trained: 10.24, of nano 2.56"
    names = ("-dur", "--seconds", "--duration")
    add(*names, type=float, default=None, metavar="SECONDS", help=seconds)
    count = "clips made for each prompt, of which CLAP picks the best"
    names = ("-n", "--candidates", "--n_candidate_gen_per_text")
    add(*names, type=int, default=1, metavar="N", help=count)
    scale = (
        "larger follows the text more closely, 1 or less not guided; default the model's own: 3.5, "
        "AudioLDM 2.5"
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
    request = _check_request(options, entries, opened)
    if is_default and not options.quiet:
        _print_default(options)
    if options.seed == -1:
        print(f"seed: {request.clips[0].seed}", file=sys.stderr)
    pipe = Pipeline.from_opened(opened, low_memory=options.low_memory)
    for start in range(0, len(entries), options.batchsize):
        stop = min(start + options.batchsize, len(entries))
        chosen = names and names[start:stop]
        if options.skip_existing and all((folder / name).exists() for name in chosen):
            continue
        if len(entries) > options.batchsize and not options.quiet:
            print(f"prompts {start + 1} to {stop} of {len(entries)}", file=sys.stderr)
        output = pipe.run(request.part(start, stop), progress=not options.quiet)
        _save(output, options, folder, chosen)
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
        progress=not options.quiet,
    )


def _check_request(options, entries: list[Entry], opened):
    """The request of all entries. Raises InputError for what the model or the device cannot do."""
    from audioldm2_jax.phonemes import check_spoken
    from audioldm2_jax.pipelines.memory import check_memory, check_model
    from audioldm2_jax.pipelines.request import check_request

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


def _save(output, options, folder: Path, names: list[str] | None) -> None:
    """Writes a batch's clips and prints their paths."""
    paths = output.save(
        folder,
        names,
        pictures=options.pictures,
        loudness=options.loudness,
        format=_suffix(options),
    )
    for path in paths:
        print(path, flush=True)
        # Only a name after the prompt can have a number behind it that we gave.
        if names is None and not options.quiet and (twin := _twin(path)):
            print(
                f"{path.name} is the same sound as {twin}: same prompt, seed and settings; "
                "--seed -1 draws another seed",
                file=sys.stderr,
            )


# What a record says beside what makes the sound.
_BESIDE_THE_SOUND = (
    *("device", "versions", "scores", "prompt_index"),
    *("loudness", "lufs", "peak", "gain_db", "clipped_samples"),
)

_MOST_TWINS = 1000  # older files that are looked at: a prompt itself may end in a large number


def _twin(path: Path) -> str | None:
    """The name of an older file with the same sound, if `path` has a number appended."""
    from audioldm2_jax.audio import FORMATS

    def sound(record: Path) -> dict:
        content = files.read_json(record)
        return {key: v for key, v in content.items() if key not in _BESIDE_THE_SOUND}

    stem, _, number = path.stem.rpartition("_")
    if not stem or not number.isdecimal():
        return None
    new = sound(path.with_suffix(".json"))
    for i in range(1, min(int(number), _MOST_TWINS)):
        record = path.with_name(f"{stem}_{i}.json" if i > 1 else f"{stem}.json")
        try:
            if sound(record) == new:
                older = (record.with_suffix(suffix) for suffix in FORMATS)
                return next((file.name for file in older if file.exists()), record.name)
        except InputError:  # somebody else's file, or none
            continue
    return None


def _print_default(options) -> None:
    """Tells that a bundled model is used, and which command takes one of full size."""
    request = '--transcription "..."' if options.transcription else '-t "..."'
    print(
        f"model: {options.model}, the small one of the package, trained on synthesised sound; "
        f"of full size: audioldm2-jax generate {request} --model {FULL[options.model]}",
        file=sys.stderr,
    )


def _suffix(options) -> str:
    """The suffix of names without one. Raises InputError for an unsupported format."""
    from audioldm2_jax.pipelines.output import check_format

    return check_format("wav" if options.format is None else options.format)


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
    return read_list(options.text_list, _suffix(options))


def _target(options, entries) -> tuple[Path, list[str] | None]:
    """Folder and file names, checked to be writable. Raises InputError."""
    from audioldm2_jax.audio import FORMATS
    from audioldm2_jax.pipelines.output import check_format, check_target

    names = [entry.name for entry in entries]
    names = None if None in names else names
    folder = options.save_path or "./output"
    if options.output is not None:
        path = Path(options.output)
        if options.save_path is not None:
            raise InputError(f"-o {path}: takes the place of -s; give one of them")
        if len(entries) > 1:
            raise InputError(f"-o {path}: takes one prompt; use -s FOLDER for a list")
        if path.suffix.lower() not in FORMATS:
            kinds = " ".join(FORMATS)
            raise InputError(f"-o {path}: must end in one of {kinds}; use -s for a folder")
        if options.format is not None and check_format(options.format) != path.suffix.lower():
            raise InputError(f"-o {path}: is not of --format {options.format}; leave that out")
        folder, names = path.parent, [path.name]
    elif options.skip_existing and names is None:
        raise InputError("--skip_existing: needs files with names: -o, or a list of PROMPT|NAME")
    suffix = _suffix(options)
    return check_target(folder, names, suffix, pictures=options.pictures)
