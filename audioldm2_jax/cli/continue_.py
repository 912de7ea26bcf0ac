"""Continue recordings: speech or music goes on where a sound file ends.

MODEL is a folder of AudioLM, or of MusicGen, whose --prompt may say how the music goes on. A result
begins with the recording's last seconds as the model's codec renders them, 3 of speech, 4 of piano.
"""

from __future__ import annotations

import sys
from pathlib import Path

from audioldm2_jax.cli.device import PLATFORMS, check_device, use_device
from audioldm2_jax.cli.help import Example, choices
from audioldm2_jax.cli.prompts import check_text
from audioldm2_jax.cli.sound_files import add_output, save, suffix_of, target_of
from audioldm2_jax.errors import InputError, note

EXAMPLES = (
    Example(
        "audioldm2-jax continue speech.wav -d 7 -n 3 -s out --model_name checkpoints/audiolm",
        "three ways in which the recording goes on for seven seconds: out/speech.wav, "
        "speech_2.wav, speech_3.wav",
    ),
    Example(
        'audioldm2-jax continue song.mp3 -d 20 -t "calm piano" --model_name '
        "facebook/musicgen-small",
        "twenty more seconds of music, as the text says",
    ),
)


def add_arguments(parser) -> None:
    """Adds the command's options to its parser."""
    from audioldm2_jax.dtypes import DTYPES

    add = parser.add_argument
    add("recordings", nargs="+", metavar="FILE", help="sound files to go on from, of any format")
    text = "of MusicGen: what to hear"
    add("-t", "--prompt", "--text", default="", metavar="TEXT", help=text)
    seconds = "length of what is added; default 7"
    names = ("-d", "-dur", "--seconds", "--duration")
    add(*names, type=float, default=7.0, metavar="SECONDS", help=seconds)
    count = "continuations of each recording, all of which are written"
    add("-n", "--candidates", type=int, default=1, metavar="N", help=count)
    model = "checkpoint: a folder in the hub layout or a hub id, of AudioLM or MusicGen"
    add("--model", "--model_name", required=True, metavar="NAME", help=model)
    add("--revision", default=None, metavar="REV", help="branch, tag or commit of a hub id")
    dtype = "of weights and activations; default bf16 on GPU and TPU, fp32 on CPU"
    add("--dtype", default=None, metavar=choices(DTYPES), help=dtype)
    add_output(add)
    _add_sampling(add)
    device = "where to compute; auto takes a TPU or GPU that JAX sees"
    add("--device", default="auto", metavar=choices(PLATFORMS), help=device)


def _add_sampling(add):
    temperature = (
        "one for all stages, or of AudioLM's semantic, coarse and fine stage: 0.6,0.8,0.6; "
        "default the model's own"
    )
    add("--temperature", default=None, metavar="T[,T,T]", help=temperature)
    top_k = "draw from the K likeliest tokens alone; default the model's own"
    add("--top_k", type=int, default=None, metavar="K", help=top_k)
    top_p = "draw from the likeliest tokens that have this probability together"
    add("--top_p", type=float, default=None, metavar="P", help=top_p)
    scale = "of MusicGen: larger follows the text more closely; default the model's own"
    add("-gs", "--guidance", type=float, default=None, metavar="SCALE", help=scale)
    seed = "the same seed gives the same clips; -1 draws one and prints it"
    add("--seed", type=int, default=0, metavar="N", help=seed)
    batch = "clips made at once; default all of a recording"
    add("-b", "--batchsize", type=int, default=None, metavar="N", help=batch)


def run(options) -> int:
    """Runs the command; returns the exit code. Raises InputError."""
    _check_options(options)
    count = len(options.recordings) * options.candidates
    folder, names = target_of(options, None, count)
    use_device(options.device)
    from audioldm2_jax.pipelines.loading import open_checkpoint

    progress = not options.quiet
    opened = open_checkpoint(
        options.model, options.dtype, revision=options.revision, progress=progress
    )
    if opened.config.family not in _FAMILIES:
        raise InputError(
            f"--model {options.model}: a model of the family {opened.config.family} continues no "
            f"recordings; {' and '.join(_FAMILIES)} do"
        )
    for path, output in _FAMILIES[opened.config.family](options, opened):
        _save(output.separate(), path, options, folder, names)
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
    try:
        values = tuple(float(part) for part in text.split(",")) if text is not None else (None,)
    except ValueError:
        raise InputError(f"--temperature {text}: numbers separated by commas, as 0.6,0.8") from None
    return values[0] if len(values) == 1 else values


def _audiolm(options, opened) -> Iterator[tuple[Path, Output]]:
    """Yields (recording, its clips) of AudioLM. After Ctrl-C, those that are finished come last."""
    from audioldm2_jax.pipelines.audiolm import AudioLM
    from audioldm2_jax.pipelines.audiolm_request import check_request

    for name in ("prompt", "guidance"):
        if (value := getattr(options, name)) not in (None, ""):
            raise InputError(f"--{name} {value}: AudioLM reads no text; leave it out")
    last, progress = opened.config.sequences.prompt, not options.quiet
    requests = []
    for path in options.recordings:
        recording = read_recording(path, last=last)
        if recording.cut:
            note(f"{path}: its last {recording.seconds:g} s are read, as the model was trained")
        for first in range(0, options.candidates, options.batchsize):
            ...
    lm = AudioLM.from_opened(opened)
    for path, request in requests:
        pieces, clips = lm.pieces(request, progress=progress), None
        try:
            for clips in pieces:
                pass
        except KeyboardInterrupt:
            if clips is not None:
                yield path, lm.output(request, clips)
            raise
        yield path, lm.output(request, clips)


_FAMILIES = {"audiolm": _audiolm, "musicgen": _musicgen}
