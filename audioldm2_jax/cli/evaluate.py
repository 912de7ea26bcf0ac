"""Score generated sound against a reference set, as the published protocols do.

GENERATED and REFERENCE are folders of sound files (of any system) or prepared corpora. With
--model, the clips are generated first: of the captions of REFERENCE or of --prompts, into the
folder GENERATED. A stopped run goes on where it was.
"""

from __future__ import annotations

import sys

from audioldm2_jax import extras, files
from audioldm2_jax.cli.device import add_device, check_device, use_device
from audioldm2_jax.cli.help import Example, choices
from audioldm2_jax.errors import InputError, printable

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
# Options that are fields of GenerationSettings, whose defaults hold.
SETTINGS = ("seconds", "steps", "sampler", "eta", "guidance", "candidates")
SETTINGS += ("negative_prompt", "batch")


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
    split = "of a corpus REFERENCE; default test, else validation, else its only one"
    add("--split", default=None, metavar="NAME", help=split)
    links = "read files and folders that symbolic links in GENERATED and REFERENCE lead to"
    add("--follow_links", action="store_true", help=links)
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
    add("--weights", action="append", default=None, metavar="NAME=PATH", help=weights)
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
    count = "clips made for each prompt, of which CLAP picks the best; default 1"
    add("-n", "--candidates", type=int, default=None, metavar="N", help=count)
    scale = "classifier-free scale; default the model's own"
    add("-gs", "--guidance", "--guidance_scale", type=float, default=None, metavar="X", help=scale)
    sampler = "default the model's own"
    add("--sampler", default=None, metavar=choices(SAMPLERS), help=sampler)
    add("--steps", type=int, default=None, metavar="N", help="sampling steps; default 25")
    eta = "noise of ddim: 0 deterministic, the default, 1 as the authors ran it"
    add("--eta", type=float, default=None, metavar="ETA", help=eta)
    away = "what to steer away from, for all clips"
    add("--negative_prompt", "--negative", default=None, metavar="TEXT", help=away)
    dtype = "of the model; default bf16 on GPU and TPU, fp32 on CPU"
    add("--dtype", default=None, metavar=choices(DTYPES), help=dtype)
    batch = "clips generated at once; default 4"
    add("-b", "--batch", type=int, default=None, metavar="N", help=batch)


def run(options) -> int:
    """Runs the command; returns the exit code. Raises InputError."""
    if options.compare:
        return _compare(options)
    _check(options)
    from audioldm2_jax import distributed

    distributed.initialize()
    use_device(options.device)
    with distributed.shared_errors():
        return _run(options)


def _run(options) -> int:
    from audioldm2_jax import distributed
    from audioldm2_jax.backend import enable_cache
    from audioldm2_jax.evaluation.clips import open_clips
    from audioldm2_jax.evaluation.evaluate import run_plan
    from audioldm2_jax.evaluation.figures import Sampling
    from audioldm2_jax.evaluation.plan import plan_evaluation
    from audioldm2_jax.evaluation.protocol import named_protocol
    from audioldm2_jax.evaluation.report.tables import result_text
    from audioldm2_jax.evaluation.report.write import check_folder, write_report
    from audioldm2_jax.pipelines.output import check_writable

    protocol, folder = named_protocol(options.protocol), files.user_path(options.output)
    reference = _open_reference(options, protocol)
    check_folder(folder, options.generated, reference.name)
    check_writable(folder)
    plan = plan_evaluation(protocol, options.metrics, read_weights(options.weights or []))
    enable_cache()
    if options.model is None:
        generated, manifest = (
            open_clips(
                options.generated, protocol, limit=options.limit, follow_links=options.follow_links
            ),
            None,
        )
    else:
        generated, manifest = _generate(options, plan, reference)
    result = run_plan(
        plan,
        generated,
        reference,
        Sampling(options.bootstrap, options.seed),
        cache=files.user_path(options.cache) if options.cache else folder / "cache",
        generation=manifest,
        progress=not options.quiet,
    )
    if distributed.is_main():
        paths = write_report(result, folder, generated, reference, count=options.clips)
        print(result_text(result))
        if not options.quiet:
            print(f"written: {' '.join(printable(path) for path in paths)}", file=sys.stderr)
    return 0


def _open_reference(options, protocol):
    """The set of clips to score against. Raises InputError, also where corpora need an extra."""
    from audioldm2_jax.data.corpus import reader
    from audioldm2_jax.evaluation.clips import open_clips

    if any(reader.is_corpus(files.user_path(p)) for p in (options.generated, options.reference)):
        extras.require("train")
    return open_clips(
        options.reference,
        protocol,
        captions=options.captions,
        limit=options.limit,
        split=options.split,
        follow_links=options.follow_links,
    )


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


def _check(options) -> None:
    """Raises InputError for the first option that cannot be used, before JAX starts."""
    from audioldm2_jax.cli.prompts import check_text
    from audioldm2_jax.dtypes import parse_dtype
    from audioldm2_jax.evaluation.kinds import select_metrics
    from audioldm2_jax.evaluation.protocol import named_protocol
    from audioldm2_jax.pipelines.values import check_count

    if not options.generated or not options.reference:
        raise InputError("name two sets of clips: audioldm2-jax evaluate GENERATED REFERENCE")
    check_device(options.device)
    for name, least in (("bootstrap", 0), ("clips", 0), ("seed", 0)):
        check_count(f"--{name}", getattr(options, name), least)
    for name in ("limit", "batch", "steps"):
        if (count := getattr(options, name)) is not None:
            check_count(f"--{name}", count, 1)
    named_protocol(options.protocol)
    select_metrics(options.metrics)
    read_weights(options.weights or [])
    if options.dtype is not None:
        parse_dtype(options.dtype)
    if options.model is None:
        _check_no_generation(options)
    for name in ("generated", "reference", "negative_prompt"):
        check_text(name, getattr(options, name) or "")


def _check_no_generation(options) -> None:
    """Raises InputError for options that have no effect without --model."""
    for name in ("prompts", *SETTINGS, "dtype"):
        if getattr(options, name) is not None:
            raise InputError(f"--{name}: is of generated clips; name a --model, or leave it out")


def read_weights(entries: list[str]) -> dict[str, str]:
    """--weights NAME=PATH by name. The published names hold a `=`, which only paths may, too."""
    weights = {}
    for entry in entries:
        name, path = _split_weights(entry)
        if not name or not path:
            raise InputError(f"--weights {entry}: NAME=PATH, such as fad=vggish-10086976.pth")
        if name in weights:
            raise InputError(f"--weights {name}: stands twice")
        weights[name] = path
    return weights


def _split_weights(entry: str) -> tuple[str, str]:
    """(name, path); a published file's name may hold a `=` itself."""
    from audioldm2_jax.evaluation.protocol import PROTOCOLS

    published = {s.weights for p in PROTOCOLS.values() for _, s in p.slots}
    for name in published:
        if entry.startswith(f"{name}="):
            return name, entry[len(name) + 1 :]
    name, _, path = entry.partition("=")
    return name.strip(), path


def _generate(options, plan, reference):
    """Generates the clips; returns their set and the manifest. Raises InputError before it."""
    from audioldm2_jax.evaluation.generated import (
        GenerationSettings,
        generate_clips,
        open_generated,
        plan_generation,
    )
    from audioldm2_jax.evaluation.plan import check_planned
    from audioldm2_jax.pipelines.loading import open_checkpoint

    prompts = _prompts(options, reference)
    given = {n: v for n in SETTINGS if (v := getattr(options, n)) is not None}
    settings = GenerationSettings(seed=options.seed, **given)
    check_planned(plan, prompts, reference)
    opened = open_checkpoint(options.model, options.dtype, progress=not options.quiet)
    generation = plan_generation(opened, prompts, options.generated, settings)
    manifest = generate_clips(generation, progress=not options.quiet)
    return open_generated(generation, prompts, plan.protocol), manifest


def _prompts(options, reference):
    """What to generate: the lines of --prompts, or the reference's captions. Raises InputError."""
    from audioldm2_jax.cli.prompts import read_list
    from audioldm2_jax.evaluation.generated import ClipPrompt
    from audioldm2_jax.pipelines.file_names import file_stem, free_name, identity
    from audioldm2_jax.pipelines.request import VOICE

    if options.prompts:
        prompts, taken = [], set()
        for entry in read_list(options.prompts)[: options.limit]:
            name = entry.name or f"{free_name(file_stem(entry.prompt), taken)}.wav"
            taken.add(identity(name.removesuffix(".wav")))
            prompts.append(ClipPrompt(name, entry.prompt))
        return prompts
    mute = [clip.name for clip in reference.clips if not (clip.caption or clip.transcript)]
    if mute:
        raise InputError(
            f"{options.reference}: {len(mute)} of {len(reference.clips)} clips have no caption "
            f"({mute[0]} ...); name a table with --captions, or a list with --prompts"
        )
    return [
        ClipPrompt(clip.name, clip.caption or VOICE, clip.transcript, clip.labels)
        for clip in reference.clips
    ]
