"""What the builders of published corpora share (the folder `data/` beside the package)."""

from __future__ import annotations

import abc
import importlib.util
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import tensorflow_datasets as tfds

from audioldm2_jax.data import records
from audioldm2_jax.data.entries import Entry, merge
from audioldm2_jax.data.places import Shelf
from audioldm2_jax.data.prepare import audio_examples
from audioldm2_jax.data.report import Report
from audioldm2_jax.errors import InputError


class Corpus(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A builder that lists a corpus' clips; reading and checking them is the same for all.

    The manual folder holds the corpus' files as distributed, archives included. What is missing or
    broken is left out, named in skipped.jsonl beside the data, and summed up on the screen.
    """

    VERSION = tfds.core.Version(records.VERSION)
    RELEASE_NOTES = {records.VERSION: "First release."}
    HOMEPAGE = ""
    LICENSE = ""

    @abc.abstractmethod
    def entries(self, shelf: Shelf, report: Report) -> dict[str, Iterable[Entry]]:
        """All clips by split; what cannot be used is an entry without a place, or in the report."""

    def tables(self, shelf: Shelf, report: Report, names: dict[str, str]):
        """(split, table's name, its bytes) of the tables that are there.

        The others are reported. Raises InputError if there is none.
        """
        there = {split: name for split, name in names.items() if shelf.matches(name)}
        if not there:
            raise InputError(f"{shelf.folder}: none of {', '.join(names.values())} is there")
        for split, name in names.items():
            if split not in there:
                report.skip(name, "metadata not there")
        return [(split, name, shelf.need(name)) for split, name in there.items()]

    def splits(
        self, folder, scratch, report: Report, say=None, **settings
    ) -> dict[str, list[Entry]]:
        """`entries`, those of one clip merged; settings: of the shelf.

        Raises InputError if metadata is missing.
        """
        shelf = Shelf(folder, scratch, report, say, **settings)
        try:
            found = self.entries(shelf, report)
            return {split: list(merge(entries, report)) for split, entries in found.items()}
        except InputError:
            raise
        except Exception as error:  # whatever a table of another form makes of a builder
            raise InputError(
                f"{folder}: the metadata is not as {self.name} publishes it "
                f"({type(error).__name__}: {error}); see data/{self.name}/README.md"
            ) from None

    def about(self) -> dict:
        """Name, citation, licence, homepage, description."""
        info = self.info
        name = "_".join(filter(None, (self.name, self.builder_config and self.builder_config.name)))
        known = {"citation": info.citation, "description": info.description}
        return {"name": name, "license": self.LICENSE, "homepage": self.HOMEPAGE, **known}

    def _info(self):
        return self.dataset_info_from_configs(
            features=records.audio_features(),
            homepage=self.HOMEPAGE,
            license=self.LICENSE or None,
        )

    def _split_generators(self, dl_manager):
        self._report = Report()
        scratch = Path(dl_manager.download_dir) / "unpacked"
        found = self.splits(dl_manager.manual_dir, scratch, self._report, print)
        return {split: self._generate_examples(entries) for split, entries in found.items()}

    def _generate_examples(self, entries):
        for example in audio_examples(entries, self._report):
            yield example["id"], example

    def _download_and_prepare(self, dl_manager, download_config):
        super()._download_and_prepare(dl_manager, download_config)
        self._report.save(Path(self.data_path))
        for line in self._report.summary():
            print(line)


def load_corpus(name: str) -> Corpus:
    """A builder: its folder, or its name in ./data; with :CONFIG where it has several.

    Raises InputError.
    """
    name, _, config = name.partition(":")
    folder = Path(name)
    if not folder.is_dir():
        folder = Path("data") / name
    path = folder / f"{folder.name}_dataset_builder.py"
    if not path.is_file():
        here = sorted(p.parent.name for p in Path("data").glob("*/*_dataset_builder.py"))
        known = f"./data has {' '.join(here)}" if here else "run in the repository's root"
        raise InputError(f"--corpus {name}: no such builder; {known}")
    module = f"{folder.resolve().parent.name}.{folder.name}.{path.stem}"
    if module not in sys.modules:
        spec = importlib.util.spec_from_file_location(module, path)
        sys.modules[module] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[module])
    builder = sys.modules[module].Builder
    # TFDS would look for a package of that name, and may find another one.
    builder.pkg_dir_path = folder.resolve()
    configs = [c.name for c in builder.BUILDER_CONFIGS]
    if (configs or config) and config not in configs:
        choice = (
            f"choose one: {' '.join(f'{name}:{c}' for c in configs)}" if configs else "it has none"
        )
        raise InputError(f"--corpus {name}:{config}: {choice}")
    with tempfile.TemporaryDirectory() as nowhere:
        return builder(data_dir=nowhere, config=config or None)
