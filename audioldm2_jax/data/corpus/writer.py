"""Writes a corpus shard by shard, so that a stopped run resumes, and assembles it at the end."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from audioldm2_jax import files, tree
from audioldm2_jax.data.corpus import reader
from audioldm2_jax.data.ingest.names import tfds_name
from audioldm2_jax.data.ingest.report import Report
from audioldm2_jax.errors import InputError

CLASSES = "classes.json"
# Audio is compressed already, and each record is read alone.
_ARRAY_RECORD_OPTIONS = "group_size:1,uncompressed"


@dataclass(frozen=True)
class Shard:
    """A numbered shard of a split."""

    split: str
    index: int

    @property
    def stem(self) -> str:
        """The name of the shard's files in the work folder, without suffix."""
        return f"{self.split}-{self.index:06d}"


def shard_size(count: int) -> int:
    """Clips in a shard of a split with `count` clips: 16 to 1000, for about 64 shards."""
    return min(max(count // 64, 16), 1000)


class CorpusWriter:
    """Writes shards to target/.work; `finish` turns target into a TFDS folder.

    settings: what the corpus is made from, as JSON holds it; a stopped run resumes only with equal
    settings. Raises InputError for a folder that holds something else.
    """

    def __init__(self, target, settings: Mapping):
        self.target = Path(target)
        self.work = self.target / ".work"
        self.settings = json.loads(json.dumps(settings))
        plan = self.work / "plan.json"
        if self.finished:
            stored = reader.read_description(self.target).get("settings")
        elif plan.exists():
            stored = self._read_plan(plan)
        else:
            stored = self._create_folder()
        if stored != self.settings:
            raise InputError(
                f"{target}: holds a corpus made otherwise ({_difference(stored, self.settings)}); "
                "choose another folder, or delete it"
            )

    @property
    def finished(self) -> bool:
        """Whether the target is a finished corpus."""
        return reader.is_corpus(self.target)

    def _read_plan(self, plan: Path) -> dict:
        try:
            return files.read_json(plan)
        except InputError as error:
            raise InputError(f"{error}; delete {self.target} to begin anew") from None

    def _create_folder(self) -> dict:
        def write(folder: Path) -> None:
            (folder / self.work.name).mkdir()
            files.write_json(folder / self.work.name / "plan.json", self.settings)

        files.write_folder(self.target, write)
        return self.settings

    def read_summary(self, shard: Shard) -> dict | None:
        """The summary of a finished shard; None if the shard is missing or damaged."""
        try:
            summary = files.read_json(self.work / f"{shard.stem}.json")
        except InputError:
            return None
        intact = summary.pop("sum", None) == _checksum(summary)
        record = self.work / f"{shard.stem}.array_record"
        if record.is_file():
            intact &= record.stat().st_size == summary.get("file")
        else:  # an earlier run has begun to finish and moved it
            intact &= any(self.work.glob("*.array_record-*")) or bool(self._moved())
        return summary if intact else None

    def _moved(self) -> list[Path]:
        return sorted(self.target.glob("*.array_record-*"))

    def write_shard(self, shard: Shard, examples: Iterable[dict], features, report: Report) -> dict:
        """Writes a shard and returns its summary.

        features: of TFDS. report: skipped clips and notes, complete once `examples` is exhausted.
        Raises InputError if the disk is full.
        """
        from array_record.python.array_record_module import ArrayRecordWriter

        partial = self.work / f".{shard.stem}.array_record"
        writer = ArrayRecordWriter(str(partial), _ARRAY_RECORD_OPTIONS)
        summary, labels, rates = _empty_summary(), Counter(), Counter()
        try:
            for example in examples:
                record = _deterministic(features.serialize_example(example))
                self._checked(lambda record=record: writer.write(record))
                _count(summary, example, len(record))
                labels.update(example["labels"])
                rates[str(example["sample_rate"])] += 1
            self._checked(writer.close)
            summary |= {"labels": dict(labels), "rates": dict(rates)}
            summary |= {"skipped": report.skipped, "notes": report.notes}
            summary["file"] = partial.stat().st_size
            os.replace(partial, self.work / f"{shard.stem}.array_record")
        except OSError as error:
            raise files.cannot(self.target, "write", error) from None
        finally:
            with suppress(RuntimeError, OSError):
                writer.close()
            partial.unlink(missing_ok=True)
        summary = json.loads(json.dumps(summary))
        files.write_json(self.work / f"{shard.stem}.json", summary | {"sum": _checksum(summary)})
        return summary

    def _checked(self, write) -> None:
        """Runs `write`, with ArrayRecord's error for a full disk as an InputError."""
        try:
            write()
        except (RuntimeError, ValueError) as error:
            reason = str(error).split(";")[0]
            raise InputError(
                f"{self.target}: cannot write ({reason}); the same command goes on from here"
            ) from None

    def finish(
        self, summaries: Mapping[Shard, dict], features, *, report: Report, metadata: Mapping
    ) -> dict:
        """Assembles the shards into a TFDS folder; returns its statistics.

        report: receives what the shards skipped. metadata: `name` and, where known, `citation`,
        `license`, `homepage`, `description`. Raises InputError if no clip is left.
        """
        try:
            return self._assemble(summaries, features, report, metadata)
        except OSError as error:
            raise files.cannot(self.target, "write", error) from None

    def _assemble(self, summaries, features, report, metadata) -> dict:
        filled = {shard: summary for shard, summary in summaries.items() if summary["clips"]}
        for summary in summaries.values():
            report.add(Report(summary["skipped"], summary["notes"]))
        if not filled:
            shutil.rmtree(self.target, ignore_errors=True)
            raise InputError(f"{self.target}: no clip can be used{report.reasons()}")
        statistics = _statistics(filled, report)
        labels = sum((Counter(summary["labels"]) for summary in filled.values()), Counter())
        names = self._write_tfds(filled, features, statistics, metadata)
        report.save(self.target)
        files.write_json(self.target / CLASSES, dict(labels.most_common()))
        # The last file is dataset_info.json: with it the folder becomes a corpus.
        for name in names:
            os.replace(self.work / name, self.target / name)
        shutil.rmtree(self.work, ignore_errors=True)
        return statistics

    def _write_tfds(self, filled, features, statistics, metadata) -> list[str]:
        """Writes all files to the work folder; returns their names in the order to move them."""
        import tensorflow_datasets as tfds

        for moved in self._moved():  # by an earlier run that began to finish
            os.replace(moved, self.work / moved.name)
        splits, names, sizes = [], [], {}
        for split in sorted({shard.split for shard in filled}):
            shards = sorted((s for s in filled if s.split == split), key=lambda s: s.index)
            template = tfds.core.ShardedFileTemplate(
                data_dir=self.work,
                dataset_name=tfds_name(metadata["name"]),
                split=split,
                filetype_suffix="array_record",
            )
            for number, shard in enumerate(shards):
                path = Path(template.sharded_filepath(shard_index=number, num_shards=len(shards)))
                names.append(path.name)
                sizes[path.name] = filled[shard]["file"]
                self._rename_shard(shard, path, filled[shard]["file"])
            splits.append(
                tfds.core.SplitInfo(
                    name=split,
                    shard_lengths=[filled[shard]["clips"] for shard in shards],
                    num_bytes=sum(filled[shard]["bytes"] for shard in shards),
                    filename_template=template,
                )
            )
        description = {"about": metadata.get("description", ""), "settings": self.settings}
        description |= {"statistics": statistics, "files": sizes}
        known = {k: metadata[k] for k in ("citation", "license", "homepage") if metadata.get(k)}
        tfds.folder_dataset.write_metadata(
            data_dir=self.work,
            features=features,
            split_infos=splits,
            version=reader.VERSION,
            description=json.dumps(description, ensure_ascii=False),
            check_data=False,
            **known,
        )
        license_file = ["LICENSE"] if (self.work / "LICENSE").is_file() else []
        return [*names, "features.json", *license_file, "dataset_info.json"]

    def _rename_shard(self, shard: Shard, path: Path, size: int) -> None:
        """Gives a shard its final name. Raises InputError if it has not `size` bytes."""
        record = self.work / f"{shard.stem}.array_record"
        if record.is_file():
            os.replace(record, path)
        if not path.is_file() or path.stat().st_size != size:
            raise InputError(f"{path}: damaged; delete {self.target} to begin anew")


def _deterministic(record: bytes) -> bytes:
    """A record with its features sorted: protobuf's order differs between processes."""
    from tensorflow_datasets.proto import tf_example_pb2

    return tf_example_pb2.Example.FromString(record).SerializeToString(deterministic=True)


def _checksum(summary: dict) -> str:
    return hashlib.sha256(json.dumps(summary, sort_keys=True).encode()).hexdigest()


def _empty_summary() -> dict:
    """A shard's counts (clips, bytes, seconds, clips by their texts), skipped clips and notes."""
    counts = {"clips": 0, "bytes": 0, "seconds": 0.0, "captions": 0, "file": 0}
    counts |= dict.fromkeys(reader.TEXT_COUNTS, 0)
    return counts | {"labels": {}, "rates": {}, "skipped": [], "notes": []}


def _count(summary: dict, example: dict, size: int) -> None:
    """Adds an example of `size` bytes to a summary."""
    summary["clips"] += 1
    summary["bytes"] += size
    summary["seconds"] += float(example["seconds"])
    summary["captions"] += len(example["captions"])
    summary["captioned"] += bool(example["captions"])
    summary["described"] += bool(example["captions"] or example["labels"])
    summary["transcribed"] += bool(example["transcript"])


def _statistics(summaries: Mapping[Shard, dict], report: Report) -> dict:
    def total(key):
        return sum(summary[key] for summary in summaries.values())

    splits: Counter = Counter()
    texts: dict[str, Counter] = {}
    for shard, summary in summaries.items():
        splits[shard.split] += summary["clips"]
        counts = {k: summary[k] for k in reader.TEXT_COUNTS}
        texts.setdefault(shard.split, Counter()).update(counts)
    rates = sum((Counter(summary["rates"]) for summary in summaries.values()), Counter())
    return {
        "clips": total("clips"),
        "hours": round(total("seconds") / 3600, 3),
        "gigabytes": round(total("bytes") / 1e9, 3),
        "splits": dict(splits),
        "clips with captions": total("captioned"),
        "captions": total("captions"),
        "clips with transcripts": total("transcribed"),
        "texts": {split: dict(counts) for split, counts in sorted(texts.items())},
        "labels": len(set().union(*(summary["labels"] for summary in summaries.values()))),
        "sample rates": dict(rates.most_common()),
        "skipped": len(report.skipped),
    }


def _difference(stored, requested) -> str:
    """The settings that differ, for an error message."""
    if not isinstance(stored, dict):
        return "it does not say how"
    stored, requested = tree.flatten(stored), tree.flatten(requested)
    keys = [k for k in {**stored, **requested} if stored.get(k) != requested.get(k)]
    return ", ".join(
        f"{k} {_shorten(stored.get(k))}, now {_shorten(requested.get(k))}" for k in keys[:4]
    )


def _shorten(value) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
