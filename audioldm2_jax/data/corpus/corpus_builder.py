"""What the builders of published corpora share (`audioldm2_jax.corpora`, at top level `data/`)."""

from __future__ import annotations

import abc
import importlib.util
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import tensorflow_datasets as tfds

from audioldm2_jax.data.corpus import reader
from audioldm2_jax.data.corpus.builder_files import find_builder, list_builders
from audioldm2_jax.data.corpus.examples import audio_examples, audio_features
from audioldm2_jax.data.ingest.clip_record import ClipRecord, merge_clips
from audioldm2_jax.data.ingest.file_index import FileIndex
from audioldm2_jax.data.ingest.report import Report, error_reason
from audioldm2_jax.errors import InputError


class CorpusBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A builder that lists a corpus' clips; reading and checking them is the same for all.

    The manual folder holds the corpus' files as distributed, archives included. What is missing or
    broken is left out, named in skipped.jsonl beside the data, and summed up on the screen.
    """

    VERSION = tfds.core.Version(reader.VERSION)
    RELEASE_NOTES = {reader.VERSION: "First release."}
    HOMEPAGE = ""
    LICENSE = ""

    @abc.abstractmethod
    def clips(self, index: FileIndex, report: Report) -> dict[str, Iterable[ClipRecord]]:
        """All clips by split; what cannot be used is an entry without a place, or in the report."""

    def tables(self, index: FileIndex, report: Report, names: dict[str, str]):
        """(split, table's name, its bytes) of the tables that are there.

        The others are reported. Raises InputError if there is none.
        """
        there = {split: name for split, name in names.items() if index.matches(name)}
        if not there:
            raise InputError(f"{index.folder}: none of {', '.join(names.values())} is there")
        for split, name in names.items():
            if split not in there:
                report.skip(name, "metadata not there")
        return [(split, name, index.require(name)) for split, name in there.items()]

    def splits(
        self, folder, scratch, report: Report, say=None, **settings
    ) -> dict[str, list[ClipRecord]]:
        """`entries`, those of one clip merged; settings: of the index.

        Raises InputError if metadata is missing.
        """
        index = FileIndex(folder, scratch, report, say, **settings)
        try:
            found = self.clips(index, report)
            return {split: list(merge_clips(entries, report)) for split, entries in found.items()}
        except InputError:
            raise
        except Exception as error:  # whatever a table of another form makes of a builder
            raise InputError(
                f"{folder}: the metadata is not as {self.name} publishes it "
                f"({type(error).__name__}: {error_reason(error)}); see data/{self.name}/README.md"
            ) from None

    def about(self) -> dict:
        """Name, citation, licence, homepage, description."""
        info = self.info
        name = "_".join(filter(None, (self.name, self.builder_config and self.builder_config.name)))
        known = {"citation": info.citation, "description": info.description}
        return {"name": name, "license": self.LICENSE, "homepage": self.HOMEPAGE, **known}

    def _info(self):
        return self.dataset_info_from_configs(
            features=audio_features(),
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


def _builder(path: Path) -> type[CorpusBuilder]:
    """The class of a builder's file. Raises InputError if it does not load."""
    folder = path.parent.resolve()
    module = f"{folder.parent.name}.{folder.name}.{path.stem}"
    loaded = sys.modules.get(module)
    # Another folder may have a builder of the same name.
    if loaded is None or Path(loaded.__file__ or "").resolve() != path.resolve():
        spec = importlib.util.spec_from_file_location(module, path)
        loaded = importlib.util.module_from_spec(spec)
        try:
            sys.modules[module] = loaded
            spec.loader.exec_module(loaded)
        except Exception as error:
            del sys.modules[module]
            raise InputError(
                f"{path}: the builder does not load ({type(error).__name__}: {error_reason(error)})"
            ) from None
    builder = getattr(loaded, "Builder", None)
    if not (isinstance(builder, type) and issubclass(builder, CorpusBuilder)):
        raise InputError(f"{path}: a class Builder, a kind of CorpusBuilder, is expected in it")
    # TFDS would look for a package of that name, and may find another one.
    builder.pkg_dir_path = folder
    return builder


def load_builder(name: str) -> CorpusBuilder:
    """A builder: its folder, or its name (see `builders`); with :CONFIG where it has several.

    Raises InputError.
    """
    name, _, config = name.partition(":")
    path = find_builder(name)
    if path is None:
        raise InputError(
            f"--corpus {name}: no such builder; there are: {' '.join(list_builders())}"
        )
    builder = _builder(path)
    configs = [c.name for c in builder.BUILDER_CONFIGS]
    if (configs or config) and config not in configs:
        choice = (
            f"choose one: {' '.join(f'{name}:{c}' for c in configs)}" if configs else "it has none"
        )
        raise InputError(f"--corpus {name}:{config}: {choice}")
    with tempfile.TemporaryDirectory() as nowhere:
        return builder(data_dir=nowhere, config=config or None)
