"""Continue recordings: speech or music goes on where a sound file ends.

MODEL is a folder of AudioLM, or of MusicGen, which also reads a text. A result begins with the end
of the recording, as the model's codec renders it: as long as the model reads, with AudioLM 3 s of
speech or 4 s of piano.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from audioldm2_jax.cli.device import PLATFORMS, check_device, use_device
from audioldm2_jax.cli.help import Example, choices
from audioldm2_jax.cli.prompts import check_text
from audioldm2_jax.cli.sound_files import add_output, save, target_of
from audioldm2_jax.errors import InputError

EXAMPLES = (
    Example(
        "audioldm2-jax continue speech.wav -d 7 -n 3 -s out --model_name checkpoints/audiolm",
        "three ways in which the recording goes on for seven seconds: out/speech.wav, "
        "speech_2.wav, speech_3.wav",
    ),
    Example(
        'audioldm2-jax continue song.mp3 -d 20 -t "calm piano" --model facebook/musicgen-small',
        "twenty more seconds of music, as the text says",
    ),
)


def add_arguments(parser) -> None:
    """Adds the command's options to its parser."""
    from audioldm2_jax.dtypes import DTYPES

    add = parser.add_argument
    add("recordings", nargs="+", metavar="FILE", help="sound files that are to go on")
    text = "of MusicGen: what to hear; default nothing in particular"
    add("-t", "--prompt", "--text", default="", metavar="TEXT", help=text)
    seconds = "length of what is added; default 7"
    names = ("-d", "-dur", "--seconds", "--duration")
    add(*names, type=float, default=7.0, metavar="SECONDS", help=seconds)
    count = "continuations of each recording, all of which are written"
    add("-n", "--candidates", type=int, default=1, metavar="N", help=count)
    model = "checkpoint of AudioLM or MusicGen: a folder or a hub id"
    add("--model", "--model_name", required=True, metavar="NAME", help=model)
    add("--revision", default=None, metavar="REV", help="branch, tag or commit of a hub id")
    variant = "of a folder's weights, such as fp16; default the plain ones, or the only ones"
    add("--variant", default=None, metavar="NAME", help=variant)
    dtype = "of weights and activations; default bf16 on GPU and TPU, fp32 on CPU"
    add("--dtype", default=None, metavar=choices(DTYPES), help=dtype)
    add_output(add)
    _add_sampling(add)
    device = "where to compute; auto takes a TPU or GPU that JAX sees"
    add("--device", default="auto", metavar=choices(PLATFORMS), help=device)


def _add_sampling(add):
    temperature = (
        "lower is less varied, 0 takes the likeliest tokens; of AudioLM one, or those of its "
        "semantic, coarse and fine stage; default the model's own, mostly 0.6,0.8,0.6"
    )
    add("--temperature", default=None, metavar="T[,T,T]", help=temperature)
    top_k = "draw from the K likeliest tokens, 0 from all; default the model's own"
    add("--top_k", type=int, default=None, metavar="K", help=top_k)
    top_p = "draw from the likeliest tokens that reach this probability together"
    add("--top_p", type=float, default=None, metavar="P", help=top_p)
    scale = "of MusicGen: larger follows the text more closely; default 3"
    add("-gs", "--guidance", type=float, default=None, metavar="SCALE", help=scale)
    seed = "the same seed gives the same clips; -1 draws one and prints it"
    add("--seed", type=int, default=0, metavar="N", help=seed)
    batch = "clips made at once; default all of a recording"
    add("-b", "--batchsize", type=int, default=None, metavar="N", help=batch)


def run(options) -> int:
    """Runs the command; returns the exit code. Raises InputError."""
    _check_options(options)
    folder, name = target_of(options, None, len(options.recordings) * options.candidates)
    use_device(options.device)
    from audioldm2_jax.pipelines.file_names import free_name, identity, taken_in
    from audioldm2_jax.pipelines.loading import open_checkpoint

    place = {"revision": options.revision, "variant": options.variant}
    place |= {"families": tuple(_FAMILIES), "progress": not options.quiet}
    opened = open_checkpoint(options.model, options.dtype, **place)
    for path, output in _FAMILIES[opened.config.family](options, opened):
        names, taken = name, taken_in(folder)
        if name is None:
            names = []
            for _ in output.separate().audio:
                names.append(free_name(Path(path).stem, taken))
                taken.add(identity(names[-1]))
        save(output.separate(), options, folder, names)
    return 0


def _check_options(options) -> None:
    """Raises InputError for the first option that no model could use."""
    from audioldm2_jax.dtypes import parse_dtype
    from audioldm2_jax.loudness import check_loudness
    from audioldm2_jax.pipelines.request import draw_seed
    from audioldm2_jax.pipelines.values import check_count

    check_text("--prompt", options.prompt)
    check_count("candidates (-n)", options.candidates, 1)
    if options.batchsize is None:
        options.batchsize = options.candidates
    check_count("batchsize (-b)", options.batchsize, 1)
    options.loudness = check_loudness(options.loudness)
    options.temperature = _temperature(options.temperature)
    check_device(options.device)
    if options.dtype is not None:
        parse_dtype(options.dtype)
    if options.seed == -1:
        options.seed = draw_seed(-1)
        print(f"seed: {options.seed}", file=sys.stderr)


def _temperature(text: str | None) -> float | tuple[float, ...] | None:
    """Parses --temperature. Raises InputError."""
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--temperature {text}: give numbers, such as 0.6,0.8,0.6") from None
    return values[0] if len(values) == 1 else values


def _draws(options) -> dict:
    """How tokens are drawn, as far as the options say it."""
    names = ("temperature", "top_k", "top_p", "guidance")
    return {n: getattr(options, n) for n in names if getattr(options, n) is not None}


def _batches(options) -> Iterator[tuple[int, int]]:
    """(first, count) of the clips of a recording that are made at once."""
    for first in range(0, options.candidates, options.batchsize):
        yield first, min(options.batchsize, options.candidates - first)


def _audiolm(options, opened) -> Iterator:
    """Yields (recording, its clips). After Ctrl-C the last ones are as far as they were made."""
    from audioldm2_jax.pipelines.audiolm import AudioLM
    from audioldm2_jax.pipelines.audiolm_memory import check_memory
    from audioldm2_jax.pipelines.audiolm_request import check_request
    from audioldm2_jax.pipelines.memory import check_model
    from audioldm2_jax.pipelines.recordings import recordings_of

    for name in ("prompt", "guidance"):
        if (value := getattr(options, name)) not in (None, ""):
            raise InputError(f"--{name} {value}: AudioLM reads no text; leave it out")
    fixed = {"seconds": options.seconds, "seed": options.seed, **_draws(options)}
    requests = []
    for path in options.recordings:
        (recording,) = recordings_of(path, 0, last=opened.config.sequences.prompt)
        for first, count in _batches(options):
            own = {"first_clip": first, "candidates": count}
            request = check_request(opened.config, "continuation", [recording], **fixed, **own)
            requests.append((path, request))
    check_model(opened.config, opened.dtype, opened.source)
    check_memory(opened.config, requests[0][1], opened.dtype)
    model = AudioLM.from_opened(opened)
    for path, request in requests:
        tokens = None
        try:
            for tokens in model.pieces(request, progress=not options.quiet):  # noqa: B007
                pass
        except KeyboardInterrupt:
            if tokens is not None:
                yield path, model.output(request, tokens)
            raise
        yield path, model.output(request, tokens)


def _musicgen(options, opened) -> Iterator:
    """Yields (recording, its clips)."""
    from audioldm2_jax.pipelines.memory import check_model
    from audioldm2_jax.pipelines.music_request import check_music_request
    from audioldm2_jax.pipelines.musicgen import MusicGen
    from audioldm2_jax.pipelines.recordings import recordings_of
    from audioldm2_jax.pipelines.streams import check_music_memory

    if isinstance(options.temperature, tuple):
        raise InputError("--temperature: MusicGen has one stage; give one number")
    fixed = {"prompt": options.prompt, "seconds": options.seconds, "seed": options.seed}
    fixed |= {"source": opened.source, **_draws(options)}
    requests = []
    for path in options.recordings:
        (recording,) = recordings_of([path], 0, last=opened.config.seconds)
        for first, count in _batches(options):
            own = {"recording": recording, "first_clip": first, "candidates": count}
            requests.append((path, check_music_request(opened.config, **fixed, **own)))
    check_model(opened.config, opened.dtype, opened.source)
    check_music_memory(opened.config, requests[0][1], opened.dtype)
    music = MusicGen.from_opened(opened)
    for path, request in requests:
        yield path, music.run(request, progress=not options.quiet)


_FAMILIES = {"audiolm": _audiolm, "musicgen": _musicgen}
