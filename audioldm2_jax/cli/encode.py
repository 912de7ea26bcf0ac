"""Encode a prepared corpus with a checkpoint's frozen encoders, so that training runs without them.

DST holds the VAE's posteriors (mean and log variance), CLAP's features of audio and captions, T5's
states, and the LOA at the chosen poolings.
"""

from __future__ import annotations

import json
import sys

from audioldm2_jax.cli.device import add_device, use_device
from audioldm2_jax.cli.help import Example, choices
from audioldm2_jax.errors import InputError, printable

EXTRA = "train"
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
    """Adds the command's arguments to an argparse parser."""
    add = parser.add_argument
    add("source", metavar="SRC", help="corpus made by `audioldm2-jax prepare`")
    add("target", metavar="DST", help="folder of the encoded corpus; a stopped run in it goes on")
    model = "checkpoint: folder in the hub layout, hub id, or nano"
    add("--model", "--model_name", required=True, metavar="NAME", help=model)
    loa = "poolings of the LOA, such as 8,4,2,1; 8 is AudioLDM 2's, 1 its speech's"
    add("--loa", default="", metavar="N,N", help=loa + "; default: none")
    from audioldm2_jax.dtypes import DTYPES

    seconds = "length of each crop"
    names = ("-dur", "--seconds", "--duration")
    add(*names, type=float, default=10.24, metavar="SECONDS", help=seconds)
    crops = "random crops of each clip longer than that, as many epochs see"
    add("--crops", type=int, default=1, metavar="N", help=crops)
    tokens = "T5's tokens at most; default: 128"
    add("--text_length", type=int, default=None, metavar="N", help=tokens)
    add("--seed", type=int, default=0, metavar="N", help="of the random crops")
    add("-b", "--batchsize", type=int, default=8, metavar="N", help="clips encoded at once")
    dtype = "of the encoders; default bf16 on GPU and TPU, fp32 on CPU"
    add("--dtype", default=None, metavar=choices(DTYPES), help=dtype)
    add_device(parser)
    add("-q", "--quiet", action="store_true", help="no progress")


def run(options) -> int:
    """Runs the command and returns its exit status. Raises InputError."""
    poolings = _poolings(options.loa)
    _check(options)
    use_device(options.device)
    from tqdm import tqdm

    from audioldm2_jax.backend import enable_cache
    from audioldm2_jax.checkpoints import download, hub
    from audioldm2_jax.data.corpus import reader
    from audioldm2_jax.data.corpus.precompute import count_crops, precompute, textless_splits
    from audioldm2_jax.data.ingest.report import Report

    config = _config(options, poolings)
    log = (lambda text: None) if options.quiet else _print
    total, report = count_crops(options.source, config), Report()
    folder = download.locate(options.model, quiet=options.quiet)
    log(f"loading {options.model}")
    checkpoint = hub.load(folder, dtype=config.dtype, only=("vae", "clap", "t5", "audiomae"))
    if options.text_length is not None and not checkpoint.config.t5:
        raise InputError(f"--text_length: {options.model} has no T5; leave it out")
    for line in textless_splits(options.source, checkpoint.config):
        _print(line)
    enable_cache()
    if reader.is_corpus(options.target):
        log(f"{options.target} was finished already; delete it to encode anew")
    else:
        log(f"encoding {total} clips; the first batch compiles the encoders, a minute or so")
    with tqdm(total=total, unit="clip", file=sys.stderr, disable=options.quiet) as progress:
        statistics = precompute(
            options.source,
            options.target,
            checkpoint,
            config,
            report=report,
            progress=progress.update,
        )
    for line in report.summary():
        print(line, file=sys.stderr)
    print(json.dumps(statistics, indent=2, ensure_ascii=False))
    return 0


def _config(options, poolings):
    from audioldm2_jax.data.corpus.frozen_encoders import PrecomputeConfig
    from audioldm2_jax.dtypes import parse_dtype

    return PrecomputeConfig(
        seconds=options.seconds,
        crops=options.crops,
        loa=poolings,
        text_length=128 if options.text_length is None else options.text_length,
        batch=options.batchsize,
        seed=options.seed,
        dtype=parse_dtype(options.dtype),
    )


def _print(text):
    print(printable(text), file=sys.stderr)


def _poolings(text: str) -> tuple[int, ...]:
    """Parses --loa. Raises InputError."""
    try:
        poolings = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise InputError(f"--loa {text}: numbers separated by commas, such as 8,4") from None
    if any(pool < 1 for pool in poolings):
        raise InputError(f"--loa {text}: poolings are at least 1")
    return tuple(sorted(set(poolings)))


def _check(options):
    if not 0.1 <= options.seconds <= 600:
        raise InputError(f"--seconds is {options.seconds}: it must be from 0.1 to 600 seconds")
    if not 0 <= options.seed < 1 << 31:
        raise InputError(f"--seed is {options.seed}: it must be from 0 to 2^31 - 1")
    for name in ("crops", "text_length", "batchsize"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"--{name} is {value}: it must be at least 1")
