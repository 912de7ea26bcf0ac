"""Writes a result: result.json, figures.csv and report.html, all or none."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from audioldm2_jax import files
from audioldm2_jax.audio import encode_audio
from audioldm2_jax.data.ingest.file_ref import Unreadable
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.clips import Clip, ClipSet
from audioldm2_jax.evaluation.report.html import Player, best_and_worst, page
from audioldm2_jax.evaluation.report.tables import figures_csv
from audioldm2_jax.evaluation.results import EvalResult
from audioldm2_jax.evaluation.rules import LoaderRules

RESULT, FIGURES, REPORT = FILES = ("result.json", "figures.csv", "report.html")
_RATE = 32000  # Hz of the sounds in a page
_RULES = LoaderRules("mean", False, resampler="soxr_hq", max_seconds=30.0)


def write_report(
    result: EvalResult,
    folder,
    generated: ClipSet | None = None,
    reference: ClipSet | None = None,
    *,
    count: int = 5,
) -> list[Path]:
    """Writes a result into a folder; returns the paths of its files.

    generated, reference: the sets whose sounds the page holds, None for a page without sounds;
    count: best and worst clips. Raises InputError where a file cannot be written.
    """
    folder = files.user_path(folder)
    players = {} if generated is None else _players(result, generated, reference, count)
    text = json.dumps(result.as_dict(), ensure_ascii=False, indent=1) + "\n"
    contents = {
        RESULT: text,
        FIGURES: figures_csv(result),
        REPORT: page(result, players, count=count),
    }
    files.make_folder(folder)
    encoded = {folder / n: t.encode("utf-8", "backslashreplace") for n, t in contents.items()}
    files.write_together(encoded)
    return list(encoded)


def check_folder(folder: Path, generated: str, reference: str) -> None:
    """Raises InputError for a folder that holds the result of other sets of clips."""
    path = folder / RESULT
    if path.exists():
        old = EvalResult.load(path)
        if (old.generated, old.reference) != (generated, reference):
            raise InputError(
                f"{folder}: holds the result of {old.generated} against {old.reference}; choose "
                "another --output"
            )


def _players(
    result: EvalResult, generated: ClipSet, reference: ClipSet | None, count: int
) -> dict[str, Player]:
    _, best, worst = best_and_worst(result, count)
    ours = {clip.name: clip for clip in generated.clips}
    theirs = {} if reference is None else {clip.name: clip for clip in reference.clips}
    players = {}
    for entry in (*best, *worst):
        sound = _sound(generated, ours.get(entry["name"]))
        other = _sound(reference, theirs.get(entry.get("reference", "")))
        players[entry["name"]] = Player(sound, other)
    return players


def _sound(clips: ClipSet | None, clip: Clip | None) -> str:
    """A clip as a `data:` URL of MP3, its first 30 seconds; "" where it cannot be read."""
    if clips is None or clip is None:
        return ""
    try:
        wave = clips.read(clip, _RULES, _RATE)
    except Unreadable:
        return ""
    content = encode_audio(wave.clip(-1, 1), _RATE, ".mp3")
    return f"data:audio/mpeg;base64,{base64.b64encode(content).decode()}"
