"""What the rows of a table share while they run: networks, reference clips, finished points."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from audioldm2_jax import distributed, files
from audioldm2_jax.evaluation.benchmark.references import Reference, open_reference, write_list
from audioldm2_jax.evaluation.benchmark.run_settings import RunSettings
from audioldm2_jax.evaluation.benchmark.sources import Sources
from audioldm2_jax.evaluation.benchmark.table_results import Point, read_points
from audioldm2_jax.evaluation.clips import ClipSet
from audioldm2_jax.evaluation.evaluate import run_plan
from audioldm2_jax.evaluation.figures import Sampling
from audioldm2_jax.evaluation.generated import weights_digest
from audioldm2_jax.evaluation.plan import Plan
from audioldm2_jax.evaluation.protocol import flat_rules
from audioldm2_jax.evaluation.report.write import write_report
from audioldm2_jax.evaluation.tables import Corpus, Row

POINTS = "points.json"


# () -> (the generated clips, the manifest of how they were made).
MakeClips = Callable[[], tuple[ClipSet, dict | None]]


def json_digest(content) -> str:
    """16 hex digits of the SHA-256 of what JSON can hold; the order of keys does not matter."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass
class Work:
    """A table's run. folder: of its results, one folder a row; plan: its networks."""

    plan: Plan
    metrics: tuple[str, ...]
    sources: Sources
    settings: RunSettings
    folder: Path
    training_sources: dict[Corpus, str] = field(default_factory=dict)  # by `training_rows`
    _references: dict[Corpus, Reference] = field(default_factory=dict)
    _digests: dict[str, str | None] = field(default_factory=dict)

    def reference(self, corpus: Corpus) -> Reference:
        """The corpus' evaluation clips, opened once. Raises InputError."""
        if corpus not in self._references:
            path = self.sources.corpus(corpus.name)
            assert path is not None, corpus.name
            reference = open_reference(
                corpus,
                path,
                self.plan.protocol,
                self.settings.limit,
                follow_links=self.settings.follow_links,
            )
            self.row_folder(None)
            if distributed.is_main():
                write_list(reference, self.folder)
            self._references[corpus] = reference
        return self._references[corpus]

    def row_folder(self, row: Row | None) -> Path:
        """The folder of a row's results, made where it is missing. Raises InputError."""
        folder = self.folder / row.name if row else self.folder
        files.make_folder(folder)
        return folder

    def digest(self, source: str) -> str | None:
        """Of the files of a local checkpoint or a corpus' folder, computed once."""
        if source not in self._digests:
            self._digests[source] = weights_digest(source)
        return self._digests[source]

    def key(self, row: Row, reference: Reference, at: float | None, content) -> str:
        """Of all that a point is computed from. content: what its clips are made of, as JSON.

        Raises InputError for a judge whose files are missing.
        """
        networks = {m: n.backbone.sha256 for m, n in sorted(self.plan.networks.items())}
        judges = {m: judge.sha256() for m, judge in sorted(self.plan.judges.items())}
        parts = {
            "clips": [type(row.clips).__name__, dataclasses.asdict(row.clips)],
            "corpus": dataclasses.asdict(row.corpus),
            "names": [(c.name, c.caption, c.transcript, c.labels) for c in reference.clips],
            "reference": reference.digest,
            "path": str(reference.path.resolve()),
            "protocol": flat_rules(self.plan.protocol),
            "networks": networks,
            "judges": judges,
            "metrics": self.metrics,
            "settings": [self.settings.bootstrap, self.settings.dtype],
            "at": at,
            "content": content,
        }
        return json_digest(parts)

    def point(
        self,
        row: Row,
        reference: Reference,
        make_clips: MakeClips,
        content,
        at: float | None = None,
        *,
        against: Callable[[], Reference] | None = None,
    ) -> Point:
        """A row's figures of one set of clips: those of an earlier run, or computed.

        make_clips: called only where no earlier run has the point; against: other clips to score
        against than the reference's own. Raises InputError and
        NumericalError as making and scoring clips do.
        """
        path = self.row_folder(row) / POINTS
        stored = {point.key: point for point in read_points(path)}
        key = self.key(row, reference, at, content)
        if key in stored:
            return stored[key]
        generated, manifest = make_clips()
        scored = against() if against else reference
        point = self.score(row, scored, generated, manifest, at)
        point.key = key
        others = [p for p in stored.values() if p.at != at]
        content = {"points": [dataclasses.asdict(p) for p in (*others, point)]}
        if distributed.is_main():
            files.write_json(path, content)
        return point

    def score(
        self,
        row: Row,
        reference: Reference,
        generated: ClipSet,
        manifest: dict | None,
        at: float | None,
    ) -> Point:
        """Figures of a set of clips, and a report of its own in the row's folder."""
        plan = dataclasses.replace(self.plan, absent=dict(self.plan.absent))
        result = run_plan(
            plan,
            generated,
            reference.clip_set,
            Sampling(self.settings.bootstrap),
            cache=self.folder / "cache",
            generation=manifest,
            progress=self.settings.progress,
        )
        folder = self.row_folder(row)
        folder = folder if at is None else folder / f"at-{at:g}"
        if distributed.is_main():
            write_report(result, folder, generated, reference.clip_set, count=3)
        return Point.of(result, self.metrics, at)
