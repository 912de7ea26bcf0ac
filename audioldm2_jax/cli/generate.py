"""Generate sound from text.

The flags of the official `audioldm2` command keep their names.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from audioldm2_jax.cli.device import add_device, use_device
from audioldm2_jax.errors import InputError

# Names of the official command, and where the hub holds the same weights.
OFFICIAL_NAMES = {
    "audioldm2-full": "cvssp/audioldm2",
    "audioldm2-full-large-1150k": "cvssp/audioldm2-large",
    "audioldm2-music-665k": "cvssp/audioldm2-music",
    "audioldm2-speech-ljspeech": "anhnct/audioldm2_ljspeech",
    "audioldm2-speech-gigaspeech": "anhnct/audioldm2_gigaspeech",
    "audioldm-s-full": "cvssp/audioldm-s-full",
    "audioldm-s-full-v2": "cvssp/audioldm-s-full-v2",
    "audioldm-m-full": "cvssp/audioldm-m-full",
    "audioldm-l-full": "cvssp/audioldm-l-full",
}
# Published as the authors' files only: {official name: repository of the hub}.
OFFICIAL_FILES = {
    "audioldm_48k": "haoheliu/audioldm_48k",
    "audioldm_16k_crossattn_t5": "haoheliu/audioldm_16k_crossattn_t5",
}
# What comes with the package, and the checkpoint of full size that does the same.
DEFAULT, SPEECH = "nano", "nano-speech"
FULL = {DEFAULT: "cvssp/audioldm2", SPEECH: "anhnct/audioldm2_gigaspeech"}


def resolve(name: str) -> str:
    """What an official name stands for; an authors' file is fetched from the hub.

    Raises InputError if it cannot be had.
    """
    if name not in OFFICIAL_FILES:
        return OFFICIAL_NAMES.get(name, name)
    from audioldm2_jax.checkpoints.download import fetch

    file = f"{name}.pth"
    folder = fetch(OFFICIAL_FILES[name], select=lambda files: [f for f in files if f == file])
    if not (folder / file).is_file():
        raise InputError(f"{OFFICIAL_FILES[name]}: the hub has no {file}; give the file's path")
    return str(folder / file)


def add_arguments(parser) -> None:
    _add_input(parser.add_argument)
    _add_output(parser.add_argument)
    _add_sampling(parser.add_argument)
    add_device(parser)


def _add_input(add):
    add("-t", "--text", default="", help="prompt")
    listing = "file with a prompt on each line; `prompt|filename` names the WAV"
    add("-tl", "--text_list", default="", metavar="FILE", help=listing)
    said = "what a speech checkpoint says; -t then describes the voice"
    add("--transcription", default="", help=said)
    add("--negative", default="", help="what to steer away from, for all prompts")
    names = ", ".join((*OFFICIAL_NAMES, *OFFICIAL_FILES))
    model = (
        "checkpoint: a folder in the hub layout, a hub id, one of the authors' files, or an "
        f"official name ({names}); default {DEFAULT} or, with --transcription, {SPEECH}, which "
        "are small and come with the package"
    )
    add("--model_name", default=None, help=model)
    add("--revision", default=None, help="branch, tag or commit of a hub id")
    tokenizers = "for an authors' file: folder in the hub layout to take tokenizers from"
    add("--tokenizers", default=None, metavar="DIR", help=tokenizers)
    changes = "low-rank changes to add: a file that `audioldm2-jax export` made"
    add("--lora", default=None, metavar="FILE", help=changes)
    add("--lora_strength", type=float, default=1.0, help="how much of them, 1 as trained")
    dtype = "fp32 or bf16; default bf16 on GPU and TPU, fp32 on CPU"
    add("--dtype", default=None, help=dtype)
    reading = "authors: read the weights as they were trained; diffusers: as diffusers does"
    add("--convention", default="authors", help=reading)


def _add_output(add):
    add("-s", "--save_path", default="./output", help="folder for the WAVs and their JSONs")
    single = "write a single prompt's sound to this file (instead of -s)"
    add("-o", "--output", default=None, metavar="FILE.wav", help=single)
    picture = "also write a picture of each clip's mel spectrogram (.png)"
    add("--pictures", action="store_true", help=picture)
    skip = "leave out batches of a list whose named WAVs all exist, to resume it"
    add("--skip_existing", action="store_true", help=skip)
    add("-q", "--quiet", action="store_true", help="no progress, only the files written")


def _add_sampling(add):
    from audioldm2_jax.diffusion.registry import sampler_names

    seconds = "seconds; default as trained: 10.24, of nano 2.56"
    add("-dur", "--duration", type=float, default=None, help=seconds)
    count = "clips made for each prompt, of which CLAP picks the best"
    add("-n", "--n_candidate_gen_per_text", type=int, default=1, metavar="N", help=count)
    scale = "larger follows the text more closely, 1 or less not guided; default the model's own"
    add("-gs", "--guidance_scale", type=float, default=None, help=f"{scale}: 3.5, AudioLDM 2.5")
    add(
        "--sampler",
        default=None,
        help=f"{sampler_names()}; default the model's own, mostly dpm++2m",
    )
    add("--steps", type=int, default=25, help="sampling steps")
    ddim = "the same as --sampler ddim --steps N"
    add("--ddim_steps", type=int, default=None, metavar="N", help=ddim)
    eta = "noise of ddim: 0 deterministic, 1 as the authors ran it"
    add("--eta", type=float, default=0.0, help=eta)
    add("--seed", type=int, default=0, help="the same seed gives the same clips")
    add("-b", "--batchsize", type=int, default=1, help="prompts generated at once")


@dataclass(frozen=True)
class Entry:
    """One prompt, and the name of its file if the list gives one."""

    prompt: str
    name: str | None = None


def run(options) -> int:
    entries = read_entries(options)
    folder, names = _target(options, entries)
    _check(options, entries, folder)
    if options.model_name is None:
        _take_default(options)
    use_device(options.device)
    if options.transcription:
        from audioldm2_jax.phonemes import require_espeak

        require_espeak()
    from audioldm2_jax import Pipeline

    pipe = Pipeline.from_pretrained(
        resolve(options.model_name),
        options.dtype,
        options.convention,
        revision=options.revision,
        tokenizers=options.tokenizers,
        lora=options.lora,
        lora_strength=options.lora_strength,
        progress=not options.quiet,
    )
    for start in range(0, len(entries), options.batchsize):
        batch = entries[start : start + options.batchsize]
        chosen = names[start : start + options.batchsize] if names else None
        if options.skip_existing and chosen and all(_wav(folder, n).exists() for n in chosen):
            continue
        if len(entries) > len(batch) and not options.quiet:
            last = start + len(batch)
            print(f"prompts {start + 1} to {last} of {len(entries)}", file=sys.stderr)
        out = pipe(
            [entry.prompt for entry in batch],
            options.negative or None,
            transcription=options.transcription or None,
            seconds=options.duration,
            steps=options.steps,
            sampler=options.sampler,
            eta=options.eta,
            guidance=options.guidance_scale,
            candidates=options.n_candidate_gen_per_text,
            seed=options.seed,
            progress=not options.quiet,
            first_clip=start * options.n_candidate_gen_per_text,
        )
        for path in out.save(folder, chosen, pictures=options.pictures):
            print(path)
    return 0


def _take_default(options) -> None:
    """An embedded model, and how to get one of full size."""
    options.model_name = SPEECH if options.transcription else DEFAULT
    if options.quiet:
        return
    asked = '--transcription "..."' if options.transcription else '-t "..."'
    print(
        f"model: {options.model_name}, the small one of the package, trained on synthesised sound; "
        f"of full size: audioldm2-jax generate {asked} --model_name {FULL[options.model_name]}",
        file=sys.stderr,
    )


def read_entries(options) -> list[Entry]:
    """Prompts from -t or -tl. Raises InputError for a list that cannot be meant."""
    if options.transcription and not options.text.strip() and not options.text_list:
        from audioldm2_jax.pipelines.request import VOICE

        return [Entry(VOICE)]
    if bool(options.text.strip()) == bool(options.text_list):
        raise InputError("give a prompt with -t TEXT, or a list of prompts with -tl FILE")
    if not options.text_list:
        return [Entry(options.text.strip())]
    path = Path(options.text_list)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a text file ({error})") from None
    entries = [_entry(line, f"{path}, line {i}") for i, line in enumerate(lines, 1) if line.strip()]
    if not entries:
        raise InputError(f"{path}: no prompts in it")
    named = [entry for entry in entries if entry.name]
    if named and len(named) < len(entries):
        raise InputError(f"{path}: name the files of all prompts or of none")
    seen = set()
    for entry in named:
        if entry.name.lower() in seen:
            raise InputError(f"{path}: the file name {entry.name!r} stands twice")
        seen.add(entry.name.lower())
    return entries


def _entry(line: str, where: str) -> Entry:
    prompt, bar, name = (part.strip() for part in line.partition("|"))
    if not prompt:
        raise InputError(f"{where}: the prompt is empty")
    if not bar:
        return Entry(prompt)
    stem = name[:-4] if name.lower().endswith(".wav") else name
    if not stem:
        raise InputError(f"{where}: the file name behind | is empty")
    if stem != Path(stem).name or stem in (".", "..") or "\\" in stem or "\0" in stem:
        raise InputError(f"{where}: the file name {name!r} must not hold a path")
    return Entry(prompt, stem)


def _target(options, entries) -> tuple[Path, list[str] | None]:
    """Folder and file names."""
    if options.output is None:
        names = [entry.name for entry in entries]
        return Path(options.save_path), names if all(names) else None
    path = Path(options.output)
    if len(entries) > 1:
        raise InputError(f"-o {path}: takes one prompt; use -s FOLDER for a list")
    if path.suffix.lower() != ".wav" or path.is_dir():
        raise InputError(f"-o {path}: must be a .wav file; use -s for a folder")
    return path.parent, [path.stem]


def _check(options, entries, folder):
    """What can be told before a model is loaded."""
    from audioldm2_jax.checkpoints.hub import convention_named
    from audioldm2_jax.diffusion.samplers import make_plan
    from audioldm2_jax.pipelines import output, request
    from audioldm2_jax.presets import CONVENTIONS, ModelConfig, ScheduleConfig

    if options.ddim_steps is not None:
        if options.sampler not in (None, "ddim"):
            raise InputError(f"--ddim_steps means DDIM, but --sampler is {options.sampler}")
        options.sampler, options.steps = "ddim", options.ddim_steps
    schedule = ScheduleConfig()
    make_plan(options.sampler or schedule.sampler, schedule, options.steps, eta=options.eta)
    request.check_count("candidates (-n)", options.n_candidate_gen_per_text, 1)
    request.check_count("batchsize (-b)", options.batchsize, 1)
    request.check_count("seed", options.seed, 0)
    if options.guidance_scale is not None:
        request.check_guidance(options.guidance_scale)
    request.time_grid(options.duration, ModelConfig(), CONVENTIONS["authors"])
    convention_named(options.convention)
    output.check_writable(folder)


def _wav(folder: Path, name: str) -> Path:
    return folder / f"{name}.wav"
