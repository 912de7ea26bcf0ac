"""A corpus in the making: parts that survive a stop, put together at the end."""

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

from audioldm2_jax import files
from audioldm2_jax.data.corpus import reader
from audioldm2_jax.data.ingest.names import tfds_name
from audioldm2_jax.data.ingest.report import Report
from audioldm2_jax.errors import InputError

CLASSES = "classes.json"
# Audio is compressed already, and each record is read alone.
_ARRAY_RECORD_OPTIONS = "group_size:1,uncompressed"


@dataclass(frozen=True)
class Shard:
    """The index-th piece of a split."""

    split: str
    index: int

    @property
    def stem(self) -> str:
        return f"{self.split}-{self.index:06d}"


def shard_size(count: int) -> int:
    """Clips in a part: some 64 parts, none very small or large. Does not depend on the machine."""
    return min(max(count // 64, 16), 1000)


class CorpusWriter:
    """target/.work holds what is done; target becomes a TFDS folder by `finish`.

    settings: what the corpus is made from; a stopped build goes on only with the same ones. Raises
    InputError for a folder that holds something else.
    """

    def __init__(self, target, settings: Mapping):
        self.target = Path(target)
        self.work = self.target / ".work"
        self.settings = json.loads(json.dumps(settings))
        plan = self.work / "plan.json"
        if self.finished:
            found = reader.read_description(self.target).get("settings")
        elif plan.exists():
            found = self._plan(plan)
        else:
            found = self._claim()
        if found != self.settings:
            raise InputError(
                f"{target}: holds a corpus made otherwise ({_difference(found, self.settings)}); "
                "choose another folder, or delete it"
            )

    @property
    def finished(self) -> bool:
        return reader.is_corpus(self.target)

    def _plan(self, plan: Path) -> dict:
        try:
            return files.read_json(plan)
        except InputError as error:
            raise InputError(f"{error}; delete {self.target} to begin anew") from None

    def _claim(self) -> dict:
        def write(folder: Path) -> None:
            (folder / self.work.name).mkdir()
            files.write_json(folder / self.work.name / "plan.json", self.settings)

        files.write_folder(self.target, write)
        return self.settings

    def summary(self, part: Shard) -> dict | None:
        """What a finished part holds; None for one to do, or to do again for it is damaged."""
        try:
            found = files.read_json(self.work / f"{part.stem}.json")
        except InputError:
            return None
        same = found.pop("sum", None) == _sum(found)
        record = self.work / f"{part.stem}.array_record"
        if record.is_file():
            whole = record.stat().st_size == found.get("file")
        else:  # finishing has begun and moved it
            whole = any(self.work.glob("*.array_record-*")) or self._moved()
        return found if same and whole else None

    def _moved(self) -> list[Path]:
        return sorted(self.target.glob("*.array_record-*"))

    def write(self, part: Shard, examples: Iterable[dict], features, report: Report) -> dict:
        """Writes a part. `report` is read when the examples are through. Raises InputError."""
        from array_record.python.array_record_module import ArrayRecordWriter

        beside = self.work / f".{part.stem}.array_record"
        writer = ArrayRecordWriter(str(beside), _ARRAY_RECORD_OPTIONS)
        found, labels, rates = _empty(), Counter(), Counter()
        try:
            for example in examples:
                record = _repeatable(features.serialize_example(example))
                self._written(lambda record=record: writer.write(record))
                _count(found, example, len(record))
                labels.update(example["labels"])
                rates[str(example["sample_rate"])] += 1
            self._written(writer.close)
            found |= {"labels": dict(labels), "rates": dict(rates)}
            found |= {"skipped": report.skipped, "notes": report.notes}
            found["file"] = beside.stat().st_size
            os.replace(beside, self.work / f"{part.stem}.array_record")
        except OSError as error:
            raise files.cannot(self.target, "write", error) from None
        finally:
            with suppress(RuntimeError, OSError):
                writer.close()
            beside.unlink(missing_ok=True)
        found = json.loads(json.dumps(found))
        files.write_json(self.work / f"{part.stem}.json", found | {"sum": _sum(found)})
        return found

    def _written(self, write) -> None:
        """ArrayRecord's error for a full disk as one line; a new call goes on."""
        try:
            write()
        except (RuntimeError, ValueError) as error:
            reason = str(error).split(";")[0]
            raise InputError(
                f"{self.target}: cannot write ({reason}); the same command goes on from here"
            ) from None

    def finish(
        self, done: Mapping[Shard, dict], features, *, report: Report, about: Mapping
    ) -> dict:
        """Puts the parts together; returns `statistics`. Raises InputError if no clip is left.

        about: `name` and, where known, `citation`, `license`, `homepage`, `description`.
        """
        try:
            return self._finished(done, features, report, about)
        except OSError as error:
            raise files.cannot(self.target, "write", error) from None

    def _finished(self, done, features, report, about) -> dict:
        full = {part: found for part, found in done.items() if found["clips"]}
        for found in done.values():
            report.add(Report(found["skipped"], found["notes"]))
        if not full:
            shutil.rmtree(self.target, ignore_errors=True)
            raise InputError(f"{self.target}: no clip can be used{report.reasons()}")
        statistics = _statistics(full, report)
        labels = sum((Counter(found["labels"]) for found in full.values()), Counter())
        names = self._gather(full, features, statistics, about)
        report.save(self.target)
        files.write_json(self.target / CLASSES, dict(labels.most_common()))
        # With the last of them, dataset_info.json, the folder becomes a corpus.
        for name in names:
            os.replace(self.work / name, self.target / name)
        shutil.rmtree(self.work, ignore_errors=True)
        return statistics

    def _gather(self, full, features, statistics, about) -> list[str]:
        """Names of the corpus' files, complete in the work folder, in the order to move them."""
        import tensorflow_datasets as tfds

        for moved in self._moved():  # by an earlier try to finish
            os.replace(moved, self.work / moved.name)
        name, splits, names = tfds_name(about["name"]), [], []
        for split in sorted({part.split for part in full}):
            mine = sorted((p for p in full if p.split == split), key=lambda p: p.index)
            template = tfds.core.ShardedFileTemplate(
                data_dir=self.work,
                dataset_name=name,
                split=split,
                filetype_suffix="array_record",
            )
            for number, part in enumerate(mine):
                made = self.work / f"{part.stem}.array_record"
                final = template.sharded_filepath(shard_index=number, num_shards=len(mine))
                names.append(Path(final).name)
                if made.is_file():
                    os.replace(made, final)
                if not Path(final).is_file() or Path(final).stat().st_size != full[part]["file"]:
                    raise InputError(f"{final}: damaged; delete {self.target} to begin anew")
            splits.append(
                tfds.core.SplitInfo(
                    name=split,
                    shard_lengths=[full[part]["clips"] for part in mine],
                    num_bytes=sum(full[part]["bytes"] for part in mine),
                    filename_template=template,
                )
            )
        words = {"about": about.get("description", ""), "settings": self.settings}
        known = {k: about[k] for k in ("citation", "license", "homepage") if about.get(k)}
        tfds.folder_dataset.write_metadata(
            data_dir=self.work,
            features=features,
            split_infos=splits,
            version=reader.VERSION,
            description=json.dumps(words | {"statistics": statistics}, ensure_ascii=False),
            check_data=False,
            **known,
        )
        license_file = ["LICENSE"] if (self.work / "LICENSE").is_file() else []
        return [*names, "features.json", *license_file, "dataset_info.json"]


def _repeatable(record: bytes) -> bytes:
    """A record with its features in order: protobuf's own differs from process to process."""
    from tensorflow_datasets.proto import tf_example_pb2

    return tf_example_pb2.Example.FromString(record).SerializeToString(deterministic=True)


def _sum(found: dict) -> str:
    """Tells a damaged summary from a whole one."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def _empty() -> dict:
    """A part's summary: clips, their bytes and seconds, how many have which texts; notes."""
    counts = {"clips": 0, "bytes": 0, "seconds": 0.0, "captions": 0, "file": 0}
    counts |= dict.fromkeys(reader.TEXT_COUNTS, 0)
    return counts | {"labels": {}, "rates": {}, "skipped": [], "notes": []}


def _count(found: dict, example: dict, size: int) -> None:
    found["clips"] += 1
    found["bytes"] += size
    found["seconds"] += float(example["seconds"])
    found["captions"] += len(example["captions"])
    found["captioned"] += bool(example["captions"])
    found["described"] += bool(example["captions"] or example["labels"])
    found["transcribed"] += bool(example["transcript"])


def _statistics(full: Mapping[Shard, dict], report: Report) -> dict:
    def total(key):
        return sum(found[key] for found in full.values())

    splits: Counter = Counter()
    texts: dict[str, Counter] = {}
    for part, found in full.items():
        splits[part.split] += found["clips"]
        texts.setdefault(part.split, Counter()).update({k: found[k] for k in reader.TEXT_COUNTS})
    rates = sum((Counter(found["rates"]) for found in full.values()), Counter())
    return {
        "clips": total("clips"),
        "hours": round(total("seconds") / 3600, 3),
        "gigabytes": round(total("bytes") / 1e9, 3),
        "splits": dict(splits),
        "clips with captions": total("captioned"),
        "captions": total("captions"),
        "clips with transcripts": total("transcribed"),
        "texts": {split: dict(counts) for split, counts in sorted(texts.items())},
        "labels": len(set().union(*(found["labels"] for found in full.values()))),
        "sample rates": dict(rates.most_common()),
        "skipped": len(report.skipped),
    }


def _difference(found, asked) -> str:
    if not isinstance(found, dict):
        return "it does not say how"
    keys = [k for k in {**found, **asked} if found.get(k) != asked.get(k)]
    return ", ".join(f"{k} {_short(found.get(k))}, now {_short(asked.get(k))}" for k in keys[:4])


def _short(value) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
