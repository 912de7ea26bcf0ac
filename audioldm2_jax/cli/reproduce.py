"""Print a published benchmark table with our figures beside it.

TABLE is a name that --list prints, or a file of the same form. Each row that can run is run; the
others name what is missing and the command that gets it. A stopped run goes on, row by row and clip
by clip.
"""

from __future__ import annotations

from pathlib import Path

from audioldm2_jax import files
from audioldm2_jax.cli.help import Example
from audioldm2_jax.errors import InputError

EXTRA = "train"  # corpora are read
EXAMPLES = (
    Example("audioldm2-jax reproduce --list", "the tables that there are"),
    Example(
        "audioldm2-jax reproduce study_table1 --plan",
        "rows, published figures, and what each row still needs; nothing runs",
    ),
)


def add_arguments(parser) -> None:
    """Adds the command's arguments to its parser."""
    add = parser.add_argument
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
    checkpoint = "what stands in for a checkpoint of the table; may be repeated"
    add("--checkpoint", action="append", default=[], metavar="NAME=MODEL", help=checkpoint)
    train = "train the rows that are training runs; what they cost is printed first"
    add("--train", action="store_true", help=train)


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
    print(plan_text(table, rows, sources))
    return 0


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
