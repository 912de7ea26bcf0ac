"""Print a published benchmark table with our figures beside it.

TABLE is a name that --list prints, or a file of the same form. Each row that can run is run; the
others name what is missing and the command that gets it. A stopped run goes on, row by row and clip
by clip.
"""

from __future__ import annotations

import sys
from pathlib import Path

from audioldm2_jax import files
from audioldm2_jax.cli.device import add_device, check_device, use_device
from audioldm2_jax.cli.help import Example, choices
from audioldm2_jax.errors import InputError, printable

EXTRA = "train"  # corpora are read
EXAMPLES = (
    Example("audioldm2-jax reproduce --list", "the tables that there are"),
    Example(
        "audioldm2-jax reproduce study_table1 --plan",
        "rows, published figures, and what each row still needs; nothing runs",
    ),
    Example(
        "audioldm2-jax reproduce audioldm2_audiocaps --rows audioldm2-full tango "
        "--corpus audiocaps=corpora/audiocaps --outputs tango=clips/tango "
        "--weights fad=vggish-10086976.pth",
        "two rows, one of another system's clips, with the metrics that the weights allow",
    ),
    Example(
        "audioldm2-jax reproduce study_figure1 --checkpoint cvssp/audioldm2=nano --limit 50",
        "a small run: the model of the package stands in for a published one",
    ),
)


def add_arguments(parser) -> None:
    """Adds the command's arguments to its parser."""
    _add_table(parser.add_argument)
    _add_run(parser.add_argument)
    add_device(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")


def _add_table(add):
    add("table", metavar="TABLE", nargs="?", help="a table's name, or a file TABLE.py")
    add("--list", action="store_true", help="print the tables that there are")
    plan = "print the rows, their published figures and what is missing; run nothing"
    add("--plan", action="store_true", help=plan)
    rows = "only these rows; a name may hold * and ?"
    add("--rows", nargs="+", default=None, metavar="ROW", help=rows)
    corpus = "a prepared corpus, or a folder of sound files; default corpora/NAME; may be repeated"
    add("--corpus", action="append", default=[], metavar="NAME=PATH", help=corpus)
    outputs = "another system's clips, named as the corpus' clips; may be repeated"
    add("--outputs", action="append", default=[], metavar="SYSTEM=FOLDER", help=outputs)
    links = "read files and folders that symbolic links in folders of sound files lead to"
    add("--follow_links", action="store_true", help=links)
    checkpoint = "what stands in for a checkpoint of the table; may be repeated"
    add("--checkpoint", action="append", default=[], metavar="NAME=MODEL", help=checkpoint)
    train = "train the rows that are training runs; what they cost is printed first"
    add("--train", action="store_true", help=train)


def _add_run(add):
    from audioldm2_jax.dtypes import DTYPES

    output = "folder of the results; default reproduced/TABLE"
    add("--output", "-o", default=None, metavar="DIR", help=output)
    protocol = "of another toolkit than the table's, such as musicnn, whose weights a wheel holds"
    add("--protocol", default=None, metavar="NAME", help=f"{protocol}; default the table's")
    limit = "only N clips of each corpus, the first ones drawn"
    add("--limit", type=int, default=None, metavar="N", help=limit)
    weights = (
        "weights of a network: PATH a published file or an exported classifier, NAME the slot "
        "(classifier, fad, clap), the network or the published file; may be repeated"
    )
    add("--weights", action="append", default=[], metavar="NAME=PATH", help=weights)
    add("--bootstrap", type=int, default=200, metavar="N", help="resamples of intervals; 0: none")
    add("-b", "--batch", type=int, default=4, metavar="N", help="clips generated at once")
    dtype = "of models; default bf16 on GPU and TPU, fp32 on CPU"
    add("--dtype", default=None, metavar=choices(DTYPES), help=dtype)


def run(options) -> int:
    """Runs the command; returns the exit code. Raises InputError."""
    from audioldm2_jax.evaluation.benchmark.plan_text import list_text, plan_text
    from audioldm2_jax.evaluation.benchmark.sources import check_sources
    from audioldm2_jax.evaluation.benchmark.table_files import (
        list_tables,
        load_table,
        select_rows,
    )

    if options.list:
        print(list_text([load_table(name) for name in list_tables()]))
        return 0
    if not options.table:
        raise InputError("name a table: audioldm2-jax reproduce TABLE (--list prints their names)")
    table = load_table(options.table)
    rows = select_rows(table, options.rows)
    sources = _sources(options)
    check_sources(table, sources)
    if options.plan:
        print(plan_text(table, rows, sources))
        return 0
    return _run(options, table, rows, sources)


def _run(options, table, rows, sources) -> int:
    settings = _settings(options)
    folder = Path(files.user_path(options.output or f"reproduced/{table.name}"))
    from audioldm2_jax import distributed

    distributed.initialize()
    use_device(options.device)
    from audioldm2_jax.evaluation.benchmark.table_text import table_text
    from audioldm2_jax.evaluation.reproduce import FILES, reproduce
    from audioldm2_jax.pipelines.output import check_writable

    with distributed.shared_errors():
        check_writable(folder)
        result = reproduce(table, rows, sources, settings, folder)
    if not distributed.is_main():
        return 0
    print(table_text(result))
    if not options.quiet:
        paths = " ".join(printable(folder / name) for name in FILES)
        print(f"written: {paths}", file=sys.stderr)
    return 0


def _settings(options):
    """Raises InputError for the first option that cannot be used."""
    from audioldm2_jax.cli.evaluate import read_weights
    from audioldm2_jax.dtypes import parse_dtype
    from audioldm2_jax.evaluation.benchmark.run_settings import RunSettings
    from audioldm2_jax.evaluation.protocol import named_protocol
    from audioldm2_jax.pipelines.values import check_count

    check_device(options.device)
    if options.limit is not None:
        check_count("--limit", options.limit, 1)
    check_count("--bootstrap", options.bootstrap, 0)
    check_count("--batch", options.batch, 1)
    if options.dtype is not None:
        parse_dtype(options.dtype)
    if options.protocol is not None:
        named_protocol(options.protocol)
    return RunSettings(
        protocol=options.protocol or "",
        limit=options.limit,
        weights=read_weights(options.weights),
        bootstrap=options.bootstrap,
        batch=options.batch,
        dtype=options.dtype,
        follow_links=options.follow_links,
        progress=not options.quiet,
    )


def _sources(options):
    from audioldm2_jax.evaluation.benchmark.sources import Sources

    return Sources(
        {name: Path(files.user_path(p)) for name, p in _pairs("corpus", options.corpus).items()},
        {name: Path(files.user_path(p)) for name, p in _pairs("outputs", options.outputs).items()},
        _pairs("checkpoint", options.checkpoint),
        options.train,
    )


def _pairs(option: str, entries: list[str]) -> dict[str, str]:
    """NAME=VALUE by name. Raises InputError for another form, and for a name that stands twice."""
    pairs: dict[str, str] = {}
    for entry in entries:
        name, _, value = entry.partition("=")
        if not name.strip() or not value.strip():
            raise InputError(f"--{option} {entry}: NAME=PATH is expected")
        if name in pairs:
            raise InputError(f"--{option} {name}: stands twice")
        pairs[name] = value
    return pairs
