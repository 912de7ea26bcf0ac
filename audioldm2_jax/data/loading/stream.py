"""Prepared corpora to batches: global shuffle, host shards, mixtures, iterators that can be saved.

A stream depends on the seed and the corpora alone: the number of hosts only deals it out, workers
and threads only fill it sooner.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field

import grain
from absl import flags

from audioldm2_jax.data.corpus import reader
from audioldm2_jax.data.loading.error_budget import ErrorBudget, FailedClip
from audioldm2_jax.data.loading.transforms import ClipTransform
from audioldm2_jax.errors import InputError


@dataclass(frozen=True)
class CorpusSource:
    """A split of a prepared corpus (`a+b` for several); weight: its share in a mixture."""

    path: str
    split: str = "train"
    weight: float | None = None


@dataclass(frozen=True)
class DataConfig:
    """A stream of batches.

    sources: without weights they are one corpus, with weights (for all) a mixture without end;
    batch: clips over all hosts; epochs: None for no end; tolerance: share of clips that may fail;
    workers: processes that decode, 0 for threads of this one; threads, prefetch: of each process,
    by default one for each core at hand, and two batches of clips.
    """

    sources: tuple[CorpusSource, ...]
    batch: int
    transform: ClipTransform = field(default_factory=ClipTransform)
    seed: int = 0
    shuffle: bool = True
    epochs: int | None = None
    tolerance: float = 0.01
    workers: int = 0
    threads: int | None = None
    prefetch: int | None = None


class ExampleSource:
    """A corpus' examples by number, as grain reads them; a damaged one is a FailedClip."""

    def __init__(self, source: CorpusSource):
        self.name = f"{source.path}, {source.split}"
        self._source = reader.open_split(source.path, source.split)

    def __len__(self):
        return len(self._source)

    def __getitem__(self, index):
        try:
            return self._source[index]
        except (IndexError, KeyboardInterrupt):
            raise
        except Exception as error:  # ArrayRecord and the parser raise many kinds
            return FailedClip(f"{self.name}, record {index}", f"damaged ({type(error).__name__})")

    def __repr__(self):
        return f"ExampleSource({self.name})"


class ClipStream:
    """This host's share of a configured stream, from clip `start` on.

    clips: how many different ones there are; tolerance: which have failed; `iterate` gives batches,
    dicts of arrays [B / hosts, ...], texts as arrays of str. Raises InputError for settings that do
    not fit together and, while reading, when more than the tolerated share of clips fails.
    """

    def __init__(self, config: DataConfig, *, host: int = 0, hosts: int = 1):
        _check(config, host, hosts)
        self.config, self.hosts = config, hosts
        corpora = [ExampleSource(source) for source in config.sources]
        self.clips = sum(map(len, corpora))
        _check_alike(corpora)
        mixed = config.sources[0].weight is not None
        if (smallest := min(map(len, corpora)) if mixed else self.clips) < hosts:
            raise InputError(f"{smallest} clips cannot be dealt to {hosts} hosts")
        streams = [grain.MapDataset.source(c) for c in corpora]
        if mixed:
            total = sum(source.weight for source in config.sources)
            parts = [_dealt(s, config, i, host, hosts) for i, s in enumerate(streams)]
            weights = [source.weight / total for source in config.sources]
            self._elements = grain.MapDataset.mix(parts, weights)
        else:
            whole = grain.MapDataset.concatenate(streams) if len(streams) > 1 else streams[0]
            self._elements = _dealt(whole, config, 0, host, hosts)
        self.error_budget = ErrorBudget(config.tolerance, self.clips)

    def iterate(self, start: int = 0) -> grain.DatasetIterator:
        """Batches of what comes after `start` clips, failed ones counted (`error_budget.seen`)."""
        config, self.error_budget.seen = self.config, start
        # More threads than cores only wait for each other.
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        threads = config.threads or min(16, max(1, cores // max(1, config.workers)))
        prefetch = config.prefetch or max(threads, 2 * config.batch // self.hosts)
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch)
        stream = self._elements[start:].to_iter_dataset(options)
        if config.workers:
            # grain's workers ask for absl's flags, which only programs run by absl have parsed.
            if not flags.FLAGS.is_parsed():
                flags.FLAGS.mark_as_parsed()
            options = grain.MultiprocessingOptions(num_workers=config.workers)
            stream = stream.mp_prefetch(options, worker_init_fn=_ignore_interrupts)
        # The last, incomplete batch of a finite stream counts where clips are evaluated, not where
        # several hosts must agree on the number of steps.
        stream = stream.filter(self.error_budget)
        return iter(stream.batch(config.batch // self.hosts, drop_remainder=self.hosts > 1))


def _ignore_interrupts(*_) -> None:
    """In a worker: a terminal sends Ctrl-C to all processes, and this one's parent ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _check_alike(corpora: list[ExampleSource]) -> None:
    """Raises InputError where some corpora hold sound and others what encoders made of it."""
    heard = {}
    for corpus in corpora:
        example = next((x for x in map(corpus.__getitem__, range(min(8, len(corpus)))) if x), None)
        if isinstance(example, dict):
            heard["audio" in example] = corpus.name
    if len(heard) > 1:
        raise InputError(
            f"sources: {heard[True]} holds sound, {heard[False]} is encoded; encode all or none"
        )


def _dealt(stream, config, number, host, hosts):
    """Shuffled and cropped before it is dealt out, so that the draws do not depend on the hosts."""
    stream = stream.seed(config.seed * 1000003 + number)
    if config.shuffle:
        stream = stream.shuffle()
    return stream.random_map(config.transform)[host::hosts].repeat(config.epochs)


def _check(config: DataConfig, host: int, hosts: int) -> None:
    weights = [source.weight for source in config.sources]
    if not config.sources:
        raise InputError("sources is empty: name at least one prepared corpus")
    if any(w is None for w in weights) and any(w is not None for w in weights):
        raise InputError("weights: give one for each source, or for none")
    if weights[0] is not None and min(weights) <= 0:
        raise InputError(f"weights are {weights}: each must be above 0")
    if weights[0] is not None and config.epochs is not None:
        raise InputError("a mixture by weights has no epochs: leave out epochs, or the weights")
    if config.batch < 1 or config.batch % hosts:
        raise InputError(f"batch is {config.batch}: it must be a multiple of the {hosts} hosts")
    if not 0 <= config.tolerance <= 1:
        raise InputError(f"tolerance is {config.tolerance}: it must be from 0 to 1")
    if not 0 <= host < hosts:
        raise InputError(f"host {host} of {hosts}: counted from 0")
