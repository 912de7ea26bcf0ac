"""A corpus in the making: parts that survive a stop, put together at the end."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from audioldm2_jax import files
from audioldm2_jax.data import records
from audioldm2_jax.data.report import Report
from audioldm2_jax.errors import InputError

CLASSES = "classes.json"


@dataclass(frozen=True)
class Part:
    """The index-th piece of a split."""

    split: str
    index: int

    @property
    def stem(self) -> str:
        return f"{self.split}-{self.index:06d}"


def part_size(count: int) -> int:
    """Clips in a part: some 64 parts, none very small or large. Does not depend on the machine."""
    return min(max(count // 64, 16), 1000)


class Build:
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
            found = records.describe(self.target).get("settings")
        elif plan.is_file():
            found = json.loads(plan.read_text())
        elif self.target.exists() and (not self.target.is_dir() or any(self.target.iterdir())):
            raise InputError(f"{target}: exists and is not empty; choose another folder")
        else:
            found = self._claim(plan)
        if found != self.settings:
            raise InputError(
                f"{target}: holds a corpus made otherwise ({_difference(found, self.settings)}); "
                "choose another folder, or delete it"
            )

    @property
    def finished(self) -> bool:
        return records.is_dataset(self.target)

    def _claim(self, plan: Path):
        try:
            self.work.mkdir(parents=True)
            files.write_json(plan, self.settings)
        except OSError as error:
            raise InputError(
                f"{self.target}: cannot write there ({error.strerror or error})"
            ) from None
        return self.settings

    def summary(self, part: Part) -> dict | None:
        """What a part that is done holds; None for one to do."""
        path = self.work / f"{part.stem}.json"
        return json.loads(path.read_text()) if path.is_file() else None

    def write(self, part: Part, examples: Iterable[dict], features, report: Report) -> dict:
        """Writes a part. `report` is read when the examples are through."""
        from array_record.python.array_record_module import ArrayRecordWriter

        beside = self.work / f".{part.stem}.array_record"
        writer = ArrayRecordWriter(str(beside), records.WRITER)
        found = {"clips": 0, "bytes": 0, "seconds": 0.0, "captioned": 0, "captions": 0}
        labels, rates = Counter(), Counter()
        try:
            for example in examples:
                record = features.serialize_example(example)
                writer.write(record)
                found["clips"] += 1
                found["bytes"] += len(record)
                found["seconds"] += float(example["seconds"])
                found["captioned"] += bool(example["captions"])
                found["captions"] += len(example["captions"])
                labels.update(example["labels"])
                rates[str(example["sample_rate"])] += 1
        finally:
            writer.close()
        found |= {"labels": dict(labels), "rates": dict(rates)}
        found |= {"skipped": report.skipped, "notes": report.notes}
        os.replace(beside, self.work / f"{part.stem}.array_record")
        files.write_json(self.work / f"{part.stem}.json", found)
        return found

    def finish(
        self, done: Mapping[Part, dict], features, *, report: Report, about: Mapping
    ) -> dict:
        """Puts the parts together; returns `statistics`. Raises InputError if no clip is left.

        about: `name` and, where known, `citation`, `license`, `homepage`, `description`.
        """
        full = {part: found for part, found in done.items() if found["clips"]}
        for found in done.values():
            report.add(Report(found["skipped"], found["notes"]))
        if not full:
            lines = "".join(f"\n  {line}" for line in report.summary())
            shutil.rmtree(self.target, ignore_errors=True)
            raise InputError(f"{self.target}: no clip can be used{lines}")
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

        for moved in self.target.glob("*.array_record-*"):  # by an earlier try to finish
            os.replace(moved, self.work / moved.name)
        name, splits, names = records.dataset_name(about["name"]), [], []
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
            version=records.VERSION,
            description=json.dumps(words | {"statistics": statistics}, ensure_ascii=False),
            check_data=False,
            **known,
        )
        license_file = ["LICENSE"] if (self.work / "LICENSE").is_file() else []
        return [*names, "features.json", *license_file, "dataset_info.json"]


def _statistics(full: Mapping[Part, dict], report: Report) -> dict:
    def total(key):
        return sum(found[key] for found in full.values())

    splits: Counter = Counter()
    for part, found in full.items():
        splits[part.split] += found["clips"]
    rates = sum((Counter(found["rates"]) for found in full.values()), Counter())
    return {
        "clips": total("clips"),
        "hours": round(total("seconds") / 3600, 3),
        "gigabytes": round(total("bytes") / 1e9, 3),
        "splits": dict(splits),
        "clips with captions": total("captioned"),
        "captions": total("captions"),
        "labels": len(set().union(*(found["labels"] for found in full.values()))),
        "sample rates": dict(rates.most_common()),
        "skipped": len(report.skipped),
    }


def _difference(found, asked) -> str:
    if not isinstance(found, dict):
        return "it does not say how"
    keys = [k for k in {**found, **asked} if found.get(k) != asked.get(k)]
    return ", ".join(f"{k} {found.get(k)!r}, now {asked.get(k)!r}" for k in keys)
