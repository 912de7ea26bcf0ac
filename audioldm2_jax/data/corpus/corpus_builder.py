"""The base class of builders of published corpora, and loading a builder by its name."""

from __future__ import annotations

import abc
import importlib.util
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import tensorflow_datasets as tfds
from tensorflow_datasets.core import registered

from audioldm2_jax.data.corpus import reader
from audioldm2_jax.data.corpus.builder_files import find_builder, list_builders
from audioldm2_jax.data.corpus.examples import audio_examples, audio_features
from audioldm2_jax.data.ingest.clip_record import ClipRecord, merge_clips
from audioldm2_jax.data.ingest.file_index import FileIndex
from audioldm2_jax.data.ingest.report import Report, error_reason
from audioldm2_jax.errors import InputError


class CorpusBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Base class of a TFDS builder; a subclass lists the corpus' clips.

    The manual folder holds the corpus' files as distributed, including archives. Missing and broken
    files are skipped, listed in skipped.jsonl beside the data, and summarised on the screen.
    """

    VERSION = tfds.core.Version(reader.VERSION)
    RELEASE_NOTES = {reader.VERSION: "First release."}
    HOMEPAGE = ""
    LICENSE = ""

    @abc.abstractmethod
    def clips(self, index: FileIndex, report: Report) -> dict[str, Iterable[ClipRecord]]:
        """Returns the clips of each split.

        A clip that cannot be used is a record without a file, or an item of the report.
        """

    def tables(self, index: FileIndex, report: Report, names: dict[str, str]):
        """Returns (split, table name, bytes) for each table that exists.

        names: table name by split. Missing tables are reported. Raises InputError if all are
        missing.
        """
        present = {split: name for split, name in names.items() if index.matches(name)}
        if not present:
            raise InputError(f"{index.folder}: none of {', '.join(names.values())} is there")
        for split, name in names.items():
            if split not in present:
                report.skip(name, "metadata not there")
        return [(split, name, index.require(name)) for split, name in present.items()]

    def splits(
        self, folder, scratch, report: Report, log=None, **settings
    ) -> dict[str, list[ClipRecord]]:
        """Returns `clips` with the records of one id merged.

        folder, scratch, report, log, settings: as in `FileIndex`. Raises InputError if metadata is
        missing or not as published.
        """
        index = FileIndex(folder, scratch, report, log, **settings)
        try:
            splits = self.clips(index, report)
            return {split: list(merge_clips(clips, report)) for split, clips in splits.items()}
        except InputError:
            raise
        except Exception as error:  # a table of another form may break a builder anywhere
            raise InputError(
                f"{folder}: the metadata is not as {self.name} publishes it "
                f"({type(error).__name__}: {error_reason(error)}); see data/{self.name}/README.md"
            ) from None

    def metadata(self) -> dict:
        """The corpus' name, citation, licence, homepage and description."""
        info = self.info
        name = "_".join(filter(None, (self.name, self.builder_config and self.builder_config.name)))
        texts = {"citation": info.citation, "description": info.description}
        return {"name": name, "license": self.LICENSE, "homepage": self.HOMEPAGE, **texts}

    def _info(self):
        return self.dataset_info_from_configs(
            features=audio_features(),
            homepage=self.HOMEPAGE,
            license=self.LICENSE or None,
        )

    def _split_generators(self, dl_manager):
        self._report = Report()
        scratch = Path(dl_manager.download_dir) / "unpacked"
        splits = self.splits(dl_manager.manual_dir, scratch, self._report, print)
        return {split: self._generate_examples(clips) for split, clips in splits.items()}

    def _generate_examples(self, clips):
        for example in audio_examples(clips, self._report):
            yield example["id"], example

    def _download_and_prepare(self, dl_manager, download_config):
        super()._download_and_prepare(dl_manager, download_config)
        self._report.save(Path(self.data_path))
        for line in self._report.summary():
            print(line)


def _builder_class(path: Path) -> type[CorpusBuilder]:
    """Loads the class of a builder's file. Raises InputError if it does not load."""
    folder = path.parent.resolve()
    module = f"{folder.parent.name}.{folder.name}.{path.stem}"
    loaded = sys.modules.get(module)
    # Another folder may have a builder of the same name.
    if loaded is None or Path(loaded.__file__ or "").resolve() != path.resolve():
        spec = importlib.util.spec_from_file_location(module, path)
        loaded = importlib.util.module_from_spec(spec)
        try:
            sys.modules[module] = loaded
            # TFDS' registry refuses a second builder of one name, such as a copy of this folder.
            with registered.skip_registration():
                spec.loader.exec_module(loaded)
        except Exception as error:
            del sys.modules[module]
            raise InputError(
                f"{path}: the builder does not load ({type(error).__name__}: {error_reason(error)})"
            ) from None
    builder = getattr(loaded, "Builder", None)
    if not (isinstance(builder, type) and issubclass(builder, CorpusBuilder)):
        raise InputError(f"{path}: a class Builder(CorpusBuilder) is expected in it")
    # TFDS would search for a package of that name, and may find another one.
    builder.pkg_dir_path = folder
    return builder


def load_builder(name: str) -> CorpusBuilder:
    """Loads a builder by its folder or by its name (see `list_builders`).

    name: with :CONFIG for a builder with several configurations. Raises InputError for an unknown
    builder or configuration, and for one that does not load.
    """
    name, _, config = name.partition(":")
    path = find_builder(name)
    if path is None:
        raise InputError(
            f"--corpus {name}: no such builder; there are: {' '.join(list_builders())}"
        )
    builder = _builder_class(path)
    configs = [c.name for c in builder.BUILDER_CONFIGS]
    if (configs or config) and config not in configs:
        choice = (
            f"choose one: {' '.join(f'{name}:{c}' for c in configs)}" if configs else "it has none"
        )
        raise InputError(f"--corpus {name}:{config}: {choice}")
    with tempfile.TemporaryDirectory() as nowhere:
        return builder(data_dir=nowhere, config=config or None)
