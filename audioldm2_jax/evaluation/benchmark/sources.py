"""What a row needs beside the program: corpus, checkpoint, outputs; where it is, how to get it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from audioldm2_jax import files
from audioldm2_jax.checkpoints import download, registry
from audioldm2_jax.data.corpus import reader
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.tables import (
    Clips,
    Corrupted,
    Model,
    Outputs,
    Row,
    Table,
    Training,
)

HOME = Path("corpora")  # where `prepare` puts corpora in all examples


@dataclass(frozen=True)
class Need:
    """Something that a row lacks. how: what to do; command: what to type, "" for nothing.

    fetched: the run gets it by itself.
    """

    what: str
    how: str
    command: str = ""
    fetched: bool = False


@dataclass(frozen=True)
class Sources:
    """Where a table's parts are. corpora: {name: path}; outputs: {row or system: folder};
    checkpoints: {name in the table: what stands in for it}; train: whether runs may be trained.
    """

    corpora: Mapping[str, Path] = field(default_factory=dict)
    outputs: Mapping[str, Path] = field(default_factory=dict)
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    train: bool = False

    def corpus(self, name: str) -> Path | None:
        """The path of a corpus: the given one, or a finished one in ./corpora; None for neither."""
        if name in self.corpora:
            return self.corpora[name]
        return HOME / name if reader.is_corpus(HOME / name) else None

    def output(self, row: Row) -> Path | None:
        """The folder of a system's clips, given by the row's name or the system's."""
        return self.outputs.get(row.name, self.outputs.get(row.system))

    def checkpoint(self, name: str) -> str:
        """What stands in for a table's checkpoint: itself, if nothing does."""
        return self.checkpoints.get(name, name)


def checkpoint_of(clips: Clips) -> str:
    """The checkpoint that a row's clips need; "" for none."""
    if isinstance(clips, Model):
        return clips.checkpoint
    if isinstance(clips, Training):
        return clips.base
    if isinstance(clips, Corrupted) and clips.kind in ("noise", "masking"):
        return clips.vocoder
    return ""


def check_sources(table: Table, sources: Sources) -> None:
    """Raises InputError for a name that the table does not have, and for a path that is missing."""
    rows = table.rows
    systems = [n for r in rows for n in (r.name, r.system) if isinstance(r.clips, Outputs)]
    checkpoints = [name for r in rows if (name := checkpoint_of(r.clips))]
    _check("--corpus", sources.corpora, [row.corpus.name for row in rows], table)
    _check("--outputs", sources.outputs, systems, table)
    _check("--checkpoint", sources.checkpoints, checkpoints, table)
    for option, paths in (("--corpus", sources.corpora), ("--outputs", sources.outputs)):
        for name, path in paths.items():
            if not path.exists():
                raise InputError(f"{option} {name}={path}: no such folder")


def _check(option: str, values: Mapping, known: Sequence[str], table: Table) -> None:
    for name in values:
        if name not in known:
            names = list(dict.fromkeys(known))
            near = get_close_matches(name, names, 1, 0.5)
            there = (
                f"did you mean {near[0]}?" if near else f"there are {', '.join(names) or 'none'}"
            )
            raise InputError(f"{option} {name}: table {table.name} has no such name; {there}")


def needs(row: Row, sources: Sources) -> list[Need]:
    """What a row lacks; [] for one that can run now."""
    lacking = []
    if sources.corpus(row.corpus.name) is None:
        lacking.append(_corpus_need(row.corpus.name))
    if isinstance(row.clips, Outputs) and sources.output(row) is None:
        how = f"give its clips, named as the corpus' clips ({row.clips.obtain or 'see its source'})"
        lacking.append(Need(f"clips of {row.system}", how, f"--outputs {row.name}=FOLDER"))
    if name := checkpoint_of(row.clips):
        lacking += _checkpoint_needs(name, sources, hears=_hears(row.clips))
    if isinstance(row.clips, Training) and not sources.train:
        lacking.append(Need("a training run", "its cost is printed before it starts", "--train"))
    return lacking


def _corpus_need(name: str) -> Need:
    how = (
        f"download it (data/{name}/README.md says what) and prepare it, or give a prepared one by "
        f"--corpus {name}=PATH"
    )
    command = f"audioldm2-jax prepare DOWNLOADS corpora/{name} --corpus data/{name}"
    return Need(f"corpus {name}", how, command)


def _hears(clips: Clips) -> bool:
    """Whether a row takes CLAP's audio tower: for its condition, or to rank candidates."""
    if isinstance(clips, Model):
        return clips.condition == "audio" or clips.generation.candidates > 1
    if not isinstance(clips, Training):
        return False
    shares = [
        v.partition("=")[2] for v in clips.overrides if v.startswith("settings.p_clap_audio=")
    ]
    return clips.generation.candidates > 1 or any(float(share) > 0 for share in shares)


def _checkpoint_needs(name: str, sources: Sources, *, hears: bool) -> list[Need]:
    model = sources.checkpoint(name)
    hub_id = registry.OFFICIAL_NAMES.get(model, model)
    is_local = hub_id in download.bundled() or files.user_path(hub_id).exists()
    if hears and not is_local and _lacks_tower(hub_id):
        official = next((o for o, h in registry.OFFICIAL_NAMES.items() if h == hub_id), "FILE")
        how = (
            f"{hub_id} has no CLAP audio tower, which ranks candidates and gives audio conditions; "
            f"convert the authors' file, and give --checkpoint {name}=checkpoints/{official}"
        )
        command = f"audioldm2-jax convert {official}.ckpt checkpoints/{official}"
        return [Need(f"the authors' file {official}.ckpt{_record(official)}", how, command)]
    hub_id = registry.OFFICIAL_FILES.get(model, hub_id)
    if is_local:
        return []
    if hub_id.count("/") > 1:  # no hub id: what a run of one's own writes
        how = f"train and export it, or give --checkpoint {name}=FOLDER"
        return [Need(f"the checkpoint in {model}", how, f"audioldm2-jax export RUN {model}")]
    if _is_cached(hub_id):
        return []
    how = (
        "it is fetched from the hub when the row runs; without a network, fetch it elsewhere and "
        f"give --checkpoint {name}=FOLDER"
    )
    return [Need(f"weights of {model}", how, f"hf download {hub_id}", fetched=True)]


# Zenodo records of the authors' files.
_ZENODO = {
    "audioldm-s-full": 7600541,
    "audioldm-s-full-v2": 7698295,
    "audioldm-l-full": 7698295,
    "audioldm-m-full": 7813012,
}


def _record(official: str) -> str:
    record = _ZENODO.get(official)
    return f" (zenodo.org/records/{record})" if record else ""


def _lacks_tower(hub_id: str) -> bool:
    """AudioLDM's folders of the hub hold CLAP's text tower alone (docs/checkpoints.md)."""
    return hub_id in registry.PUBLISHED and hub_id.startswith("cvssp/audioldm-")


def _is_cached(hub_id: str) -> bool:
    """Whether the hub's cache holds a repository, or at least its index."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return isinstance(try_to_load_from_cache(hub_id, "model_index.json"), str)
    except HFValidationError:
        return False
