"""generation_config.json of AudioLM: the sequences of its language models, and their sampling."""

from __future__ import annotations

from pathlib import Path

from audioldm2_jax import files
from audioldm2_jax.checkpoints.config_entries import Entries
from audioldm2_jax.presets.audiolm import AudioLMConfig, SequenceConfig

NAME = "generation_config.json"
# {our field: the file's entry}; lengths are in seconds.
_SECONDS = {"prompt": "prompt_seconds", "piece": "piece_seconds"}


def read_sequences(folder: Path) -> dict[str, SequenceConfig]:
    """The field `sequences` of a folder's configuration; the paper's values without the file.

    Raises InputError for entries of the wrong type or out of bounds.
    """
    path, default = folder / NAME, SequenceConfig()
    if not path.is_file():
        return {"sequences": default}
    entries = Entries(files.read_json(path), str(path))
    lengths = {
        field: float(entries.number(name, getattr(default, field), 0.01, 3600))
        for field, name in _SECONDS.items()
    }
    rate = entries.get("unique_rate")
    top_k, top_p = entries.get("top_k"), entries.get("top_p")
    sequences = SequenceConfig(
        sample_rate=entries.integer("sample_rate", default.sample_rate, 1000, 768000),
        frame_rate=float(entries.number("frame_rate", default.frame_rate, 0.1, 10000)),
        semantic_rate=entries.integer("semantic_rate", default.semantic_rate, 1, 1000),
        **lengths,
        remove_repeats=entries.flag("remove_repeats", default.remove_repeats),
        unique_rate=None if rate is None else entries.number("unique_rate", 1, 0.01, 1000),
        temperature=_temperature(entries, default.temperature),
        top_k=None if top_k is None else entries.integer("top_k", None, high=1 << 16),
        top_p=None if top_p is None else entries.number("top_p", 1, 1e-6, 1),
    )
    return {"sequences": sequences}


def _temperature(entries: Entries, default: tuple[float, ...]) -> tuple[float, float, float]:
    values = entries.get("temperature", default)
    plain = isinstance(values, (list, tuple)) and len(values) == len(default)
    if not plain or not all(type(x) in (int, float) and 0 <= x <= 100 for x in values):
        entries.refuse("temperature", f"a list of {len(default)} numbers from 0 to 100")
    return tuple(map(float, values))


def sequences_file(config: AudioLMConfig) -> dict[str, dict]:
    """{name: content} of the file; `read_sequences` gives the configuration again."""
    own = config.sequences
    content = {name: getattr(own, field) for field, name in _SECONDS.items()}
    content |= {n: getattr(own, n) for n in ("sample_rate", "frame_rate", "semantic_rate")}
    content |= {"remove_repeats": own.remove_repeats, "temperature": list(own.temperature)}
    optional = {n: getattr(own, n) for n in ("unique_rate", "top_k", "top_p")}
    return {NAME: content | {n: value for n, value in optional.items() if value is not None}}
