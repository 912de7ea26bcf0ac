"""Turn audio and captions into a corpus that training reads: ArrayRecord with random access.

SRC is a folder of audio with a table of captions (CSV, TSV, JSON, JSON lines), with a .txt beside
each file, or with neither; an export of Hugging Face's datasets; or, with --corpus, the downloaded
files of a published corpus.
"""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

from audioldm2_jax.cli.help import Example
from audioldm2_jax.errors import InputError, printable

# Options of a folder that is no published corpus.
OWN_FOLDER = ("metadata", "file_column", "caption_columns", "label_column", "transcript_column")
OWN_FOLDER += ("split_column", "name", "allow_outside")

EXTRA = "train"
EXAMPLES = (
    Example(
        "audioldm2-jax prepare recordings corpora/mine --sample_rate 16000 --validation 0.1",
        "a folder of sounds with captions in a table or in .txt files beside them",
    ),
    Example(
        "audioldm2-jax prepare cv corpora/cv --metadata train=cv/train.tsv "
        "--transcript_column sentence",
        "a table of one's own, with what is said in a column",
    ),
    Example(
        "audioldm2-jax prepare downloads/clotho corpora/clotho --corpus clotho",
        "a published corpus as downloaded, by its builder in data/",
    ),
)


def notes() -> str:
    """The names of the builders, for --help."""
    from audioldm2_jax.data.corpus.builder_files import list_builders

    names = textwrap.wrap(" ".join(list_builders()) or "none here", 78)
    lines = "\n".join(f"  {line}" for line in names)
    return f"Published corpora (--corpus; their sizes and configurations: docs/data.md):\n{lines}"


def add_arguments(parser) -> None:
    """Adds the command's arguments to an argparse parser."""
    add = parser.add_argument
    add("source", metavar="SRC", help="folder with the audio; archives in it are read too")
    add("target", metavar="DST", help="folder of the corpus; a stopped preparation in it goes on")
    builder = "builder of a published corpus: its folder, such as data/clotho, or a name from below"
    add(
        "--corpus",
        default=None,
        metavar="BUILDER",
        help=builder + "; NAME:CONFIG where it has several",
    )
    table = "table of captions, if it is not found in SRC; SPLIT=FILE for a split; may be repeated"
    add("--metadata", action="append", default=None, metavar="[SPLIT=]FILE", help=table)
    add(
        "--file_column",
        default=None,
        metavar="NAME",
        help="column that names the files; default: recognised",
    )
    captions = "columns with captions, separated by commas; default: all named *caption*, or text"
    add("--caption_columns", default=None, metavar="NAME,...", help=captions)
    for name, holds in (
        ("--label_column", "labels"),
        ("--transcript_column", "what is said"),
        ("--split_column", "each clip's split"),
    ):
        add(name, default=None, metavar="NAME", help=f"column with {holds}; default: recognised")
    amount = "clips of train that become validation: a number (10), or a share below 1 (0.05)"
    add("--validation", default="0", metavar="N", help=amount)
    links = "read files and folders that symbolic links in SRC lead to"
    add("--follow_links", action="store_true", help=links)
    outside = "read files outside SRC that a table names"
    add("--allow_outside", action="store_true", help=outside)
    rate = "Hz; audio becomes mono FLAC (smaller, quicker); default: files as they are"
    add("--sample_rate", type=int, default=None, metavar="HZ", help=rate)
    add("--name", default=None, metavar="NAME", help="the corpus' name; default: DST's")
    add(
        "--workers",
        type=int,
        default=None,
        metavar="N",
        help="processes; default: one for each core",
    )
    add("-q", "--quiet", action="store_true", help="no progress")


def run(options) -> int:
    """Runs the command and returns its exit status. Raises InputError."""
    from tqdm import tqdm

    from audioldm2_jax.data.corpus import reader
    from audioldm2_jax.data.corpus.holdout import hold_out
    from audioldm2_jax.data.corpus.prepare import prepare
    from audioldm2_jax.data.ingest.report import Report

    amount = _check(options)
    report = Report()
    log = (lambda text: None) if options.quiet else _print
    metadata, splits = _list_clips(options, report, log)
    total = sum(map(len, splits.values()))
    if not total:
        raise InputError(f"{options.source}: no audio there{report.reasons()}")
    if amount:
        splits = hold_out(splits, amount)
    finished = reader.is_corpus(options.target)
    with tqdm(total=total, unit="clip", file=sys.stderr, disable=options.quiet) as progress:
        statistics = prepare(
            splits,
            options.target,
            metadata=metadata,
            report=report,
            sample_rate=options.sample_rate,
            workers=options.workers,
            progress=progress.update,
        )
    if finished:
        log(f"{options.target} was finished already; delete it to read the files anew")
    for line in report.summary():
        print(line, file=sys.stderr)
    if report.skipped or report.notes:
        log(f"all names: {Path(options.target) / 'skipped.jsonl'}")
    if amount and "validation" not in statistics["splits"]:
        log("none of the clips held back for validation can be used; hold back more")
    print(json.dumps(statistics, indent=2, ensure_ascii=False))
    return 0


def _print(text):
    print(printable(text), file=sys.stderr)


def _check(options) -> float:
    """Returns the amount of --validation. Raises InputError for options that contradict."""
    from audioldm2_jax.data.corpus.holdout import parse_holdout

    if options.sample_rate is not None and not 1000 <= options.sample_rate <= 384000:
        raise InputError(f"--sample_rate is {options.sample_rate}: Hz from 1000 to 384000")
    if options.workers is not None and not 1 <= options.workers <= 1024:
        raise InputError(f"--workers is {options.workers}: it must be from 1 to 1024")
    for name in OWN_FOLDER if options.corpus else ():
        if getattr(options, name):
            raise InputError(f"--{name}: a published corpus (--corpus) decides it; leave it out")
    source, target = _resolve(options.source), _resolve(options.target)
    if not source.is_dir():
        raise InputError(f"{options.source}: no such folder")
    if target.is_relative_to(source):
        raise InputError(f"{options.target}: lies inside {options.source}; choose another folder")
    return parse_holdout(options.validation)


def _resolve(path: str) -> Path:
    try:
        return Path(path).resolve()
    except (ValueError, OSError, RuntimeError):  # surrogates, NUL, links in a circle
        raise InputError(f"{path}: no file can have this name") from None


def _list_clips(options, report, log):
    """Returns (metadata of the corpus, its clips by split), with progress."""
    from tqdm import tqdm

    log(f"looking through {options.source}")
    with tqdm(unit="file", file=sys.stderr, disable=options.quiet, leave=False) as progress:
        settings = {
            "follow_links": options.follow_links,
            "allow_outside": options.allow_outside,
            "tick": progress.update,
        }
        if options.corpus:
            from audioldm2_jax.data.corpus.corpus_builder import load_builder

            builder = load_builder(options.corpus)
            scratch = _scratch(options)
            splits = builder.splits(options.source, scratch, report, log, **settings)
            return builder.metadata(), splits
        return _list_own_folder(options, report, log, settings)


def _list_own_folder(options, report, log, settings):
    from audioldm2_jax.data.ingest import folder, huggingface
    from audioldm2_jax.data.ingest.clip_record import merge_clips
    from audioldm2_jax.data.ingest.columns import Columns
    from audioldm2_jax.data.ingest.file_index import FileIndex

    captions = options.caption_columns and tuple(options.caption_columns.split(","))
    columns = Columns(
        options.file_column,
        captions or None,
        options.label_column,
        options.transcript_column,
        options.split_column,
    )
    index = FileIndex(options.source, _scratch(options), report, log, **settings)
    if options.metadata is None and huggingface.is_export(index):
        splits = huggingface.read_export(index, columns)
    else:
        tables = options.metadata and _tables(options.metadata)
        splits = folder.read_folder(index, report, metadata=tables, columns=columns)
    metadata = {"name": options.name or Path(options.target).resolve().name}
    return metadata, {split: list(merge_clips(clips, report)) for split, clips in splits.items()}


def _scratch(options) -> Path:
    """The folder beside the corpus where compressed archives are unpacked, kept for reuse."""
    target = Path(options.target).resolve()
    return target.with_name(f".{target.name}-unpacked")


def _tables(arguments: list[str]) -> dict[str, list[Path]]:
    """Parses --metadata [SPLIT=]FILE. Raises InputError for files that do not exist."""
    tables: dict[str, list[Path]] = {}
    for text in arguments:
        split, _, file = ("", "", text) if Path(text).is_file() else text.rpartition("=")
        if not Path(file).is_file():
            raise InputError(f"--metadata {text}: no such file")
        tables.setdefault(split, []).append(Path(file))
    return tables
