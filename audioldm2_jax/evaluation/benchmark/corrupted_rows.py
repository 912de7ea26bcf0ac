"""Rows of corrupted recordings: clean and corrupted files once, then sets of any share of them."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from audioldm2_jax import files
from audioldm2_jax.data.ingest.file_ref import FileRef, Unreadable
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.benchmark.generated_rows import joined
from audioldm2_jax.evaluation.benchmark.references import Reference
from audioldm2_jax.evaluation.benchmark.table_results import Point
from audioldm2_jax.evaluation.benchmark.work import Work, json_digest
from audioldm2_jax.evaluation.clips import Clip
from audioldm2_jax.evaluation.corruption import (
    CorruptionRules,
    MelVocoder,
    add_noise,
    chain,
    corrupted_names,
    draw_events,
    draw_interferers,
    event_order,
    interfere,
    mask_spans,
    mel_power,
)
from audioldm2_jax.evaluation.rules import LoaderRules
from audioldm2_jax.evaluation.tables import Corrupted, Row
from audioldm2_jax.features.mel import MEL_16K

Wave = Callable[[], np.ndarray]  # -> [samples]

_READ = LoaderRules(demean=False, resampler="soxr_hq")
_ON_MEL = {"noise": add_noise, "masking": mask_spans}


def corrupted(work: Work, row: Row) -> list[Point]:
    """Points of the row's shares, rising. The reference is the clean set. Raises InputError."""
    assert isinstance(row.clips, Corrupted)
    kind, reference = row.clips, work.reference(row.corpus)
    rules, checkpoint = CorruptionRules(), work.sources.checkpoint(kind.vocoder)
    weights = work.digest(checkpoint) if kind.kind in _ON_MEL else None
    content = [dataclasses.asdict(rules), checkpoint, weights]

    @functools.cache
    def sets() -> tuple[Reference, dict[str, Clip]]:
        origin = [content, reference.digest, [(c.name, c.labels) for c in reference.clips]]
        folder = work.row_folder(row) / f"clips-{json_digest(origin)}"
        clean = folder / "clean"
        if kind.kind in _ON_MEL:  # noise and masking have the same clean clips
            same = [checkpoint, weights, *origin[1:]]
            clean = work.row_folder(None) / f"vocoded-{json_digest(same)}"
        maker = _Maker(kind.kind, reference, rules, clean, folder / "corrupted")
        vocoder = MelVocoder.load(checkpoint) if kind.kind in _ON_MEL else None
        clean, changed = maker.write(vocoder, progress=work.settings.progress)
        clip_set = joined(clean, f"clean clips of {reference.clip_set.name}", work.plan.protocol)
        return dataclasses.replace(reference, clips=tuple(clean), clip_set=clip_set), changed

    def point(share: float) -> Point:
        def make_clips():
            clean, changed = sets()
            own = corrupted_names([clip.name for clip in clean.clips], share, rules.seed)
            clips = [changed[c.name] if c.name in own else c for c in clean.clips]
            return joined(clips, f"{kind.kind} in {share:.0%}", work.plan.protocol), None

        return work.point(row, reference, make_clips, content, share, against=lambda: sets()[0])

    return [point(share) for share in sorted(kind.shares)]


@dataclasses.dataclass
class _Maker:
    """Writes the clean and the corrupted file of every clip; files that are there stay.

    clean, corrupted: folders, of which other rows may have filled the first.
    """

    kind: str
    reference: Reference
    rules: CorruptionRules
    clean: Path
    corrupted: Path

    def write(
        self, vocoder: MelVocoder | None, *, progress: bool
    ) -> tuple[list[Clip], dict[str, Clip]]:
        """(clean clips, corrupted clips by name). Clips that cannot be read are left out."""
        self.vocoder = vocoder
        self.front = vocoder.front_end if vocoder else MEL_16K
        self.by_name = {clip.name: clip for clip in self.reference.clips}
        self.labels = {name: clip.labels for name, clip in self.by_name.items()}
        for folder in (self.clean, self.corrupted):
            files.make_folder(folder)
        clean, changed = [], {}
        bar = tqdm(
            self.reference.clips, self.kind, file=sys.stderr, disable=not progress, unit="clip"
        )
        for clip in bar:
            paths = self.clean / clip.name, self.corrupted / clip.name
            if not all(path.is_file() for path in paths):
                try:
                    makers = self._waves(clip)
                except Unreadable:
                    continue
                for path, make in zip(paths, makers):
                    if not path.is_file():
                        self._save(path, make())
            here, there = (dataclasses.replace(clip, source=FileRef(str(p))) for p in paths)
            clean.append(here)
            changed[clip.name] = there
        if not clean:
            raise InputError(f"{self.reference.path}: none of its clips can be read")
        return clean, changed

    def _waves(self, clip: Clip) -> tuple[Wave, Wave]:
        """What makes (clean, corrupted). Raises Unreadable."""
        name = clip.name
        if self.kind == "order":
            events = [self._read(n) for n in draw_events(name, [*self.by_name], self.rules)]
            order = event_order(name, self.rules)
            rate = self.front.sample_rate
            return (
                lambda: chain(events, rate, self.rules),
                lambda: chain([events[i] for i in order], rate, self.rules),
            )
        wave = self._read(name)
        if self.kind == "interference":
            return lambda: wave, lambda: interfere(wave, self._interferer(clip), self.front)
        vocoder, corrupt = self.vocoder, _ON_MEL[self.kind]
        assert vocoder is not None
        mel = vocoder.mel(wave)
        return (
            lambda: vocoder.wave(mel, len(wave)),
            lambda: vocoder.wave(corrupt(mel, name, self.rules), len(wave)),
        )

    def _interferer(self, clip: Clip) -> np.ndarray:
        """The first of the drawn clips that can be read and is not silent."""
        for name in draw_interferers(clip.name, clip.labels, self.labels, self.rules):
            try:
                wave = self._read(name)
            except Unreadable:
                continue
            if len(wave) and mel_power(wave, self.front) > 0:
                return wave
        raise InputError(f"{clip.name}: every clip of another class is silent")

    def _read(self, name: str) -> np.ndarray:
        clip = self.by_name[name]
        return self.reference.clip_set.read(clip, _READ, self.front.sample_rate)

    def _save(self, path: Path, wave: np.ndarray) -> None:
        """32-bit samples: sums of two clips may exceed full scale."""
        with files.atomic_file(path) as temporary:
            soundfile.write(temporary, wave, self.front.sample_rate, format="WAV", subtype="FLOAT")
