"""The Markdown of `accelerator.py`'s JSON, for docs/performance.md."""

from __future__ import annotations

import re

_NAME = re.compile(r"(\w+) (\w+) (\w+): (.+) @(\w+)(?: (.+))?")


def table(stored: dict) -> str:
    """Where it was measured, tables of sampling and training, starts, and what is missing."""
    rows = {_NAME.fullmatch(name).groups(): record for name, record in stored["rows"].items()}
    good = {key: record for key, record in rows.items() if "error" not in record}
    parts = [_about(stored["about"])]
    for kind, render in (("sampling", _sampling), ("training", _training), ("start", _starts)):
        chosen = {key: record for key, record in good.items() if key[2] == kind}
        if chosen:
            parts.append(render(chosen))
    parts += _missing(stored, rows)
    return "\n\n".join(parts)


def _about(about: dict) -> str:
    versions = ", ".join(f"{name} {v}" for name, v in about["versions"].items() if v)
    memory = f", {about['GB']:.0f} GB" if about.get("GB") else ""
    flags = f" XLA_FLAGS: `{about['XLA_FLAGS']}`." if about.get("XLA_FLAGS") else ""
    small = "" if about["size"] == "full" else f" Size {about['size']}: no figures to compare."
    where = f"{about['device']}{memory}, {about['cores']} cores, {about['date']}"
    return f"{where}; {versions}.{flags}{small}"


def _sampling(rows: dict) -> str:
    lines = [
        "| model | part | clips | ours, ms | against | ms | ours / theirs | compile, s | peak GB | "
        "predicted GB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (model, dtype, _, part, _, peer), r in rows.items():
        cells = [f"{model} {dtype}", part, str(r["clips"]), f"{1e3 * r['ours']:.2f}"]
        lines.append(_line([*cells, *_peer(peer, r), _compile(r), *_memory(r)]))
    return "\n".join(lines)


def _training(rows: dict) -> str:
    lines = [
        "| model | stage | batch | step, ms | clips/s | of the peak, % | against | ms | "
        "ours / theirs | compile, s | peak GB | predicted GB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (model, dtype, _, part, _, peer), r in rows.items():
        share = f"{100 * r['utilisation']:.1f}" if "utilisation" in r else "-"
        cells = [f"{model} {dtype}", part, str(r["clips"]), f"{1e3 * r['ours']:.1f}"]
        cells += [f"{r['clips'] / r['ours']:.1f}", share]
        lines.append(_line([*cells, *_peer(peer, r), _compile(r), *_memory(r)]))
    return "\n".join(lines)


def _starts(rows: dict) -> str:
    lines = [
        "| start from the cache of programs | first request, s | first clip after the start, s | "
        "second request, ms |",
        "| --- | --- | --- | --- |",
    ]
    for (model, dtype, *_), r in rows.items():
        began = f"{r['since the process began']:.1f}"
        second = f"{1e3 * r['second request']:.1f}"
        lines.append(_line([f"{model} {dtype}", _compile(r), began, second]))
    return "\n".join(lines)


def _missing(stored: dict, rows: dict) -> list[str]:
    texts = []
    errors = [f"{' '.join(k[:4])} @{k[4]}: {r['error']}" for k, r in rows.items() if "error" in r]
    if errors:
        texts.append("Failed:\n\n" + "\n".join(f"- {error}" for error in errors))
    if reasons := sorted({r["theirs missing"] for r in rows.values() if "theirs missing" in r}):
        texts.append("diffusers' figures are missing: " + "; ".join(reasons) + ".")
    if stored["not run"]:
        texts.append("Not run, for the time was up: " + "; ".join(stored["not run"]) + ".")
    return texts


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _peer(peer: str | None, record: dict) -> list[str]:
    if "theirs" not in record:
        return [peer or "-", "-", "-"]
    return [peer, f"{1e3 * record['theirs']:.2f}", f"{record['ratio']:.2f}"]


def _compile(record: dict) -> str:
    cached = " (cached)" if record["from the cache"] else ""
    return f"{record['compile']:.1f}{cached}"


def _memory(record: dict) -> list[str]:
    keys = ("GB peak of the process", "GB predicted")
    return [f"{record[key]:.2f}" if key in record else "-" for key in keys]
