"""Encode a prepared corpus with a checkpoint's frozen encoders, so that training runs without them.

DST holds the VAE's posteriors (mean and log variance), CLAP's features of audio and captions, T5's
states, and the LOA at the poolings asked for.
"""

from __future__ import annotations

import json
import sys

from audioldm2_jax.cli.device import add_device, use_device
from audioldm2_jax.cli.help import Example, choices
from audioldm2_jax.errors import InputError

EXAMPLES = (
    Example(
        "audioldm2-jax encode corpora/mine corpora/mine-encoded --model cvssp/audioldm2 --loa 8",
        "what `audioldm2-jax train` needs of a corpus for AudioLDM 2, encoded once",
    ),
    Example(
        "audioldm2-jax encode corpora/mine corpora/mine-encoded --model nano -dur 2.56 -b 32",
        "for the small model of the package: clips of its length",
    ),
)


def add_arguments(parser) -> None:
    add = parser.add_argument
    add("source", metavar="SRC", help="corpus made by `audioldm2-jax prepare`")
    add("target", metavar="DST", help="folder of the encoded corpus; a stopped run in it goes on")
    model = "checkpoint: folder in the hub layout, hub id, or nano"
    add("--model", "--model_name", required=True, metavar="NAME", help=model)
    loa = "poolings of the LOA, such as 8,4,2,1; 8 is AudioLDM 2's, 1 its speech's"
    add("--loa", default="", metavar="N,N", help=loa + "; default: none")
    from audioldm2_jax.pipelines.text_to_audio import DTYPES

    seconds = "length of each crop"
    names = ("-dur", "--seconds", "--duration")
    add(*names, type=float, default=10.24, metavar="SECONDS", help=seconds)
    crops = "random crops of each clip longer than that, as many epochs see"
    add("--crops", type=int, default=1, metavar="N", help=crops)
    add("--text_length", type=int, default=128, metavar="N", help="T5's tokens at most")
    add("--seed", type=int, default=0, metavar="N", help="of the random crops")
    add("-b", "--batchsize", type=int, default=8, metavar="N", help="clips encoded at once")
    dtype = "of the encoders; default bf16 on GPU and TPU, fp32 on CPU"
    add("--dtype", default=None, metavar=choices(DTYPES), help=dtype)
    add_device(parser)
    add("-q", "--quiet", action="store_true", help="no progress")


def run(options) -> int:
    poolings = _poolings(options.loa)
    _check(options)
    use_device(options.device)
    from tqdm import tqdm

    from audioldm2_jax.checkpoints import download, hub
    from audioldm2_jax.data.encode import Encoding, clips_of, encode
    from audioldm2_jax.data.report import Report
    from audioldm2_jax.pipelines.text_to_audio import choose_dtype

    encoding = Encoding(
        seconds=options.seconds,
        crops=options.crops,
        loa=poolings,
        text_length=options.text_length,
        batch=options.batchsize,
        seed=options.seed,
        dtype=choose_dtype(options.dtype),
    )
    total, report = clips_of(options.source, encoding), Report()
    folder = download.locate(options.model, quiet=options.quiet)
    checkpoint = hub.load(folder, dtype=encoding.dtype, only=("vae", "clap", "t5", "audiomae"))
    with tqdm(total=total, unit="clip", file=sys.stderr, disable=options.quiet) as progress:
        found = encode(
            options.source,
            options.target,
            checkpoint,
            encoding,
            report=report,
            progress=progress.update,
        )
    for line in report.summary():
        print(line, file=sys.stderr)
    print(json.dumps(found, indent=2, ensure_ascii=False))
    return 0


def _poolings(text: str) -> tuple[int, ...]:
    try:
        found = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise InputError(f"--loa {text}: numbers separated by commas, such as 8,4") from None
    if any(pool < 1 for pool in found):
        raise InputError(f"--loa {text}: poolings are at least 1")
    return tuple(sorted(set(found)))


def _check(options):
    if not 0.1 <= options.seconds <= 600:
        raise InputError(f"--seconds is {options.seconds}: it must be from 0.1 to 600 seconds")
    for name in ("crops", "text_length", "batchsize"):
        if getattr(options, name) < 1:
            raise InputError(f"--{name} is {getattr(options, name)}: it must be at least 1")
