"""What a table asks for, as text: its rows, their published figures, and what is not there."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from audioldm2_jax.errors import printable
from audioldm2_jax.evaluation.benchmark.sources import Sources, needs
from audioldm2_jax.evaluation.tables import (
    Clips,
    Corpus,
    Corrupted,
    Generation,
    Model,
    Outputs,
    Published,
    Row,
    Table,
    Training,
)


def cell(figure: Published | None) -> str:
    """A published figure as tables print it; "" where none is published."""
    if figure is None:
        return ""
    if figure.value is None:
        return figure.text
    value = f"{figure.value:g}"
    return f"{value} ± {figure.spread:g}" if figure.spread is not None else value


def describe_clips(clips: Clips) -> str:
    """What a row's clips come from, in a line."""
    if isinstance(clips, Model):
        condition = "the text" if clips.condition == "text" else "CLAP's vector of the recording"
        return f"{clips.checkpoint} given {condition}; {describe_generation(clips.generation)}"
    if isinstance(clips, Training):
        values = " ".join(clips.overrides)
        steps = f"{len(clips.steps)} times up to step {clips.steps[-1]}"
        return (
            f"trained by {clips.config} {values} on {clips.base}, scored {steps}; "
            f"{describe_generation(clips.generation)}"
        )
    if isinstance(clips, Corrupted):
        shares = ", ".join(f"{share:.0%}" for share in clips.shares)
        return f"the corpus' clips, {clips.kind} in {shares} of them"
    return "clips of another system" if isinstance(clips, Outputs) else "the corpus' own clips"


def describe_generation(generation: Generation) -> str:
    """How clips are generated, in a few words."""
    g = generation
    parts = [g.sampler or "the model's sampler", f"{g.steps} steps"]
    parts += [f"eta {g.eta:g}"] if g.eta else []
    parts += [f"guidance {g.guidance:g}"] if g.guidance is not None else []
    parts += [f"best of {g.candidates}"] if g.candidates > 1 else []
    return ", ".join(parts)


def describe_corpus(corpus: Corpus) -> str:
    """Which clips of a corpus."""
    counts = {
        "all": "all clips",
        "random": f"{corpus.count} clips drawn by name",
        "stratified": f"{corpus.count} clips of each label, drawn by name",
    }
    return f"{corpus.name}, split {corpus.split}, {counts[corpus.selection]}"


def plan_text(table: Table, rows: Sequence[Row], sources: Sources) -> str:
    """The table's rows, their published figures, what each row lacks and how to get it."""
    lines = [
        f"{table.name}: {table.title}",
        f"source: {table.source}",
        f"protocol: {table.protocol}; columns: {' '.join(table.columns)}",
    ]
    for row in rows:
        published = [f"{p.metric} {cell(p)}" for p in row.published]
        lines += ["", f"{row.name}: {row.system}" + (f" ({row.note})" if row.note else "")]
        lines += [
            f"  clips: {describe_clips(row.clips)}",
            f"  corpus: {describe_corpus(row.corpus)}",
        ]
        lines += [f"  published: {', '.join(published) or 'nothing'}"]
        lacking = needs(row, sources)
        for need in lacking:
            lines.append(f"  {'not here yet' if need.fetched else 'missing'}: {need.what}")
            lines += textwrap.wrap(need.how, 96, initial_indent="    ", subsequent_indent="    ")
            lines += [f"      {need.command}"] if need.command else []
        if all(need.fetched for need in lacking):
            lines.append("  can run")
    lines += [""] * bool(table.notes) + [f"note: {note}" for note in table.notes]
    return "\n".join(printable(line) for line in lines)


def list_text(tables: Sequence[Table]) -> str:
    """The tables in a line each, with their numbers of rows."""
    width = max(len(table.name) for table in tables)
    return "\n".join(f"{t.name:{width}}  {len(t.rows):2} rows  {t.title}" for t in tables)
