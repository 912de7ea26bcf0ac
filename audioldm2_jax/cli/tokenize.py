"""Turn recordings into tokens: a codec's codes, and semantic tokens of HuBERT or w2v-BERT.

SRC is a folder of sounds or a corpus of `prepare`. DST becomes an ArrayRecord store of 16-bit
tokens, which says what it was made by. With --fit_centroids, DST becomes the k-means that turns an
encoder's states into tokens.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from audioldm2_jax.cli.device import add_device, use_device
from audioldm2_jax.cli.help import Example
from audioldm2_jax.errors import InputError, printable

EXTRA = "train"
EXAMPLES = (
    Example(
        "audioldm2-jax tokenize speech kmeans --semantic facebook/w2v-bert-2.0 --layer 17 "
        "--frame_rate 25 --fit_centroids 1024",
        "k-means of a layer's states, two of which are averaged, as AudioLM's tokens are",
    ),
    Example(
        "audioldm2-jax tokenize speech tokens --codec descript/dac_16khz "
        "--semantic facebook/w2v-bert-2.0 --kmeans kmeans",
        "what AudioLM's language models are trained on; a stopped run in the folder goes on",
    ),
    Example(
        "audioldm2-jax tokenize speech tokens --codec descript/dac_16khz "
        "--semantic facebook/hubert-base-ls960 --kmeans hubert_base_ls960_L9_km500.bin --layer 9",
        "with centroids that fairseq published",
    ),
)


def add_arguments(parser) -> None:
    """Adds the command's arguments to an argparse parser."""
    add = parser.add_argument
    add("source", metavar="SRC", help="folder of sounds, or corpus made by `audioldm2-jax prepare`")
    add("target", metavar="DST", help="folder of the tokens, or of the centroids")
    codec = "SoundStream, EnCodec, DAC or Mimi: a folder, hub id or authors' file"
    add("--codec", default=None, metavar="NAME", help=codec)
    add("--levels", type=int, default=None, metavar="N", help="of the codec; default: all")
    encoder = "HuBERT or w2v-BERT 2.0: a folder, hub id or fairseq's .pt"
    add("--semantic", default=None, metavar="NAME", help=encoder)
    kmeans = "folder of --fit_centroids, or a .npy or joblib file; default: kmeans/ in --semantic"
    add("--kmeans", default=None, metavar="PATH", help=kmeans)
    layer = "whose states are clustered, of a file of centroids or with --fit_centroids"
    add("--layer", type=int, default=None, metavar="N", help=layer)
    rate = "tokens a second, 25 or 50, of a file of centroids or with --fit_centroids; default: 50"
    add("--frame_rate", type=int, default=None, metavar="HZ", help=rate)
    repeats = "keep repeated semantic tokens; default: one of each run, with its length beside"
    add("--repeats", action="store_true", help=repeats)
    names = ("-dur", "--seconds", "--duration")
    longest = "longest piece of a recording that is one record"
    add(*names, type=float, default=30.0, metavar="SECONDS", help=longest)
    add("--fit_centroids", type=int, default=None, metavar="K", help="fit K centroids instead")
    frames = "states that the centroids are fitted on; default: 200 for each, at most 1000000"
    add("--frames", type=int, default=None, metavar="N", help=frames)
    add("--seed", type=int, default=0, metavar="N", help="of --fit_centroids")
    add_device(parser)
    add("-q", "--quiet", action="store_true", help="no progress")


def run(options) -> int:
    """Runs the command and returns its exit status. Raises InputError."""
    _check(options)
    use_device(options.device)
    from audioldm2_jax.backend import enable_cache
    from audioldm2_jax.data.ingest.report import Report

    enable_cache()
    report = Report()
    work = _tokenize if options.fit_centroids is None else _fit
    result = work(options, report)
    for line in report.summary():
        print(line, file=sys.stderr)
    print(json.dumps(result, indent=2, ensure_ascii=False))
    return 0


def _tokenize(options, report) -> dict:
    from audioldm2_jax.data.tokens.tokenize import TokenizeConfig, tokenize
    from audioldm2_jax.encoders.codec import Codec
    from audioldm2_jax.encoders.semantic import SemanticTokenizer

    codec = Codec.from_pretrained(options.codec) if options.codec else None
    semantic = None
    if options.semantic:
        semantic = SemanticTokenizer.from_pretrained(
            options.semantic,
            kmeans=options.kmeans,
            layer=options.layer,
            frame_rate=options.frame_rate,
        )
    config = TokenizeConfig(options.seconds, options.levels, options.repeats)
    with _progress(options, "clip") as progress:
        return tokenize(
            options.source,
            options.target,
            codec,
            semantic,
            config,
            report=report,
            start=progress.reset,
            progress=progress.update,
        )


def _fit(options, report) -> dict:
    """Fits centroids and writes them as a folder of our own."""
    import jax

    from audioldm2_jax import files
    from audioldm2_jax.checkpoints import single
    from audioldm2_jax.checkpoints.single import Single
    from audioldm2_jax.data.tokens.tokenize import gather_features
    from audioldm2_jax.encoders import kmeans
    from audioldm2_jax.encoders.semantic import load_encoder
    from audioldm2_jax.presets import KMeansConfig

    files.check_new(options.target)
    encoder, codebook = load_encoder(options.semantic), options.fit_centroids
    rows = options.frames or min(200 * codebook, 1_000_000)
    rate = options.frame_rate or encoder.frame_rate
    with _progress(options, "state", rows) as progress:
        features = gather_features(
            options.source,
            encoder,
            options.layer,
            frame_rate=rate,
            rows=rows,
            report=report,
            seed=options.seed,
            progress=progress.update,
        )
    passes = 10
    with _progress(options, "state", passes * len(features)) as progress:
        key = jax.random.key(options.seed)
        params = kmeans.fit(features, codebook, key, passes=passes, progress=progress.update)
    config = KMeansConfig(codebook, encoder.config.width, options.layer, rate)
    single.save(Single("kmeans", config, params), options.target)
    return {"centroids": codebook, "states": len(features), "layer": options.layer, "rate": rate}


def _progress(options, unit: str, total: int | None = None):
    from tqdm import tqdm

    # Delayed, so that no empty bar stands before the line that says what is wrong.
    settings = {"file": sys.stderr, "disable": options.quiet, "delay": 1e-3}
    return tqdm(total=total, unit=unit, **settings)


def _check(options) -> None:
    """Raises InputError for values out of bounds, and for options that do not go together."""
    if not 0.1 <= options.seconds <= 600:
        raise InputError(f"--seconds is {options.seconds}: it must be from 0.1 to 600 seconds")
    for name in ("fit_centroids", "frames", "levels", "frame_rate"):
        value = getattr(options, name)
        if value is not None and not 1 <= value <= 1 << 24:
            raise InputError(f"--{name} is {value}: it must be from 1 to {1 << 24}")
    if not 0 <= options.seed < 1 << 31:
        raise InputError(f"--seed is {options.seed}: it must be from 0 to 2^31 - 1")
    if not options.codec and not options.semantic:
        raise InputError("neither --codec nor --semantic: name one of them")
    for name in ("kmeans", "layer", "frame_rate"):
        if getattr(options, name) is not None and not options.semantic:
            raise InputError(f"--{name} is of --semantic: name the encoder too")
    if options.fit_centroids is not None:
        _check_fit(options)
    source, target = Path(options.source).resolve(), Path(options.target).resolve()
    if target.is_relative_to(source):
        raise InputError(
            printable(f"{options.target}: lies inside {options.source}; choose another folder")
        )


def _check_fit(options) -> None:
    """Raises InputError for options that do not go with --fit_centroids."""
    for name in ("codec", "levels", "kmeans"):
        if getattr(options, name) is not None:
            raise InputError(f"--{name}: --fit_centroids does not take it; leave it out")
    if options.layer is None:
        raise InputError("--fit_centroids needs --layer, such as 9 of HuBERT base")
    if options.fit_centroids > 1 << 16:
        raise InputError(f"--fit_centroids is {options.fit_centroids}: at most {1 << 16}")
