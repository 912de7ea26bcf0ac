"""Score generated sound against a reference set, as the published protocols do.

GENERATED and REFERENCE are folders of sound files (of any system) or prepared corpora. With --model,
the clips are generated first: of the captions of REFERENCE or of --prompts, into the folder
GENERATED. A stopped run goes on where it was.
"""

from __future__ import annotations

import sys
from pathlib import Path

from audioldm2_jax import files
from audioldm2_jax.cli.device import add_device, check_device, use_device
from audioldm2_jax.cli.help import Example, choices
from audioldm2_jax.errors import InputError, printable

EXTRA = "eval"
EXAMPLES = (
    Example(
        "audioldm2-jax evaluate mine/ audiocaps-test/ --protocol audioldm_eval "
        "--weights classifier=Cnn14_16k_mAP=0.438.pth --weights fad=vggish-10086976.pth",
        "FD, KL, IS, KID, KAD, FAD ... of a folder of clips; evaluation/report.html shows them",
    ),
    Example(
        "audioldm2-jax evaluate mine/ music/ --protocol musicnn --metrics FAD,KL",
        "with a network that comes inside a package: no download",
    ),
    Example(
        "audioldm2-jax evaluate clips corpora/mine --model nano -dur 2.56 "
        "--weights classifier=exported/tagger",
        "generates a clip of each caption of a corpus, and judges by a classifier trained on it",
    ),
    Example(
        "audioldm2-jax evaluate --compare a/result.json b/result.json",
        "two results side by side, and what makes them not comparable",
    ),
)
FILES = ("result.json", "figures.csv", "report.html")


def add_arguments(parser) -> None:
    """Adds the command's arguments to its parser."""
    _add_sets(parser.add_argument)
    _add_metrics(parser.add_argument)
    _add_generation(parser.add_argument)
    add_device(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")


def _add_sets(add):
    generated = "clips to score: folder or corpus; with --model the folder to generate them into"
    add("generated", metavar="GENERATED", nargs="?", help=generated)
    reference = "clips to score against: folder or corpus"
    add("reference", metavar="REFERENCE", nargs="?", help=reference)
    captions = "table of captions, labels and transcripts of the reference's clips: .csv, .jsonl"
    add("--captions", default=None, metavar="FILE", help=captions)
    limit = "only the first N clips by name"
    add("--limit", type=int, default=None, metavar="N", help=limit)
    output = f"folder for {', '.join(FILES)}"
    add("--output", "-o", default="evaluation", metavar="DIR", help=output)
    cache = "folder of features, by content, so that no clip is read twice; default DIR/cache"
    add("--cache", default=None, metavar="DIR", help=cache)
    compare = "print results of earlier runs (result.json) side by side, and nothing else"
    add("--compare", nargs="+", default=None, metavar="FILE", help=compare)


def _add_metrics(add):
    from audioldm2_jax.evaluation.kinds import GROUPS
    from audioldm2_jax.evaluation.protocol import PROTOCOLS
    from audioldm2_jax.evaluation.results import METRICS

    protocol = "whose rules of loading, networks, pairs and seeds to follow"
    add("--protocol", default="audioldm_eval", metavar=choices(PROTOCOLS), help=protocol)
    metrics = (
        f"metrics with commas between: {' '.join(METRICS)}; or groups: {' '.join(GROUPS)}, which "
        "leave out what weights and clips do not allow and say why"
    )
    add("--metrics", default="all", metavar="NAMES", help=metrics)
    weights = (
        "weights of a network: PATH a published file or an exported classifier, NAME the slot "
        "(classifier, fad, clap), the network or the published file; once for each"
    )
    add("--weights", action="append", default=[], metavar="NAME=PATH", help=weights)
    add("--bootstrap", type=int, default=200, metavar="N", help="resamples of intervals; 0: none")
    count = "best and worst clips to play in the report"
    add("--clips", type=int, default=5, metavar="K", help=count)
    seed = "of intervals, of parts of the sets, and of generated clips"
    add("--seed", type=int, default=0, metavar="N", help=seed)


def _add_generation(add):
    from audioldm2_jax.diffusion.registry import SAMPLERS
    from audioldm2_jax.dtypes import DTYPES

    model = "checkpoint to generate the clips with: folder in the hub layout, hub id, or nano"
    add("--model", "--model_name", default=None, metavar="NAME", help=model)
    prompts = "generate of this list, a prompt on each line or `prompt|name`; default the captions"
    add("--prompts", default=None, metavar="FILE", help=prompts)
    seconds = "length of a clip; default as trained"
    names = ("-dur", "--seconds", "--duration")
    add(*names, type=float, default=None, metavar="SECONDS", help=seconds)
    count = "clips made for each prompt, of which CLAP picks the best"
    add("-n", "--candidates", type=int, default=1, metavar="N", help=count)
    scale = "classifier-free scale; default the model's own"
    add("-gs", "--guidance", "--guidance_scale", type=float, default=None, metavar="X", help=scale)
    sampler = "default the model's own"
    add("--sampler", default=None, metavar=choices(SAMPLERS), help=sampler)
    add("--steps", type=int, default=25, metavar="N", help="sampling steps")
    eta = "noise of ddim: 0 deterministic, 1 as the authors ran it"
    add("--eta", type=float, default=0.0, metavar="ETA", help=eta)
    away = "what to steer away from, for all clips"
    add("--negative_prompt", "--negative", default=None, metavar="TEXT", help=away)
    dtype = "of the model; default bf16 on GPU and TPU, fp32 on CPU"
    add("--dtype", default=None, metavar=choices(DTYPES), help=dtype)
    add("-b", "--batch", type=int, default=4, metavar="N", help="clips generated at once")


def run(options) -> int:
    """Runs the command; returns the exit code. Raises InputError."""
    if options.compare:
        return _compare(options)
    _check(options)
    from audioldm2_jax import distributed

    distributed.initialize()
    use_device(options.device)
    from audioldm2_jax.backend import enable_cache
    from audioldm2_jax.evaluation.evaluate import open_sets, plan_evaluation
    from audioldm2_jax.evaluation.protocol import named_protocol
    from audioldm2_jax.evaluation.report.write import check_folder, write_report

    protocol, weights = named_protocol(options.protocol), _weights(options.weights)
    folder = files.user_path(options.output)
    check_folder(folder, options.generated, options.reference)
    enable_cache()
    return 0


def _compare(options) -> int:
    from audioldm2_jax.evaluation.report.tables import comparison_text
    from audioldm2_jax.evaluation.results import EvalResult

    if options.generated or options.reference:
        raise InputError("--compare: takes results alone; leave out GENERATED and REFERENCE")
    results = [EvalResult.load(files.user_path(path)) for path in options.compare]
    if len(results) < 2:
        raise InputError("--compare: name at least two result.json")
    print(comparison_text(results))
    return 0
