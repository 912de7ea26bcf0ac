"""Streams of clips from prepared corpora: global shuffle, host shards, mixtures, positions.

The order and the random draws depend only on the seed and the corpora. Hosts take disjoint shares
of the same stream; workers and threads only change its speed.
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
    """A split of a prepared corpus.

    path: the corpus' folder. split: its name, or several as `a+b`. weight: its share in a mixture.
    """

    path: str
    split: str = "train"
    weight: float | None = None


@dataclass(frozen=True)
class DataConfig:
    """Settings of a stream of batches.

    sources: without weights they form one corpus; with weights (for all) they form an infinite
    mixture. batch: clips over all hosts. epochs: None repeats forever. tolerance: share of clips
    that may fail. workers: processes that decode; 0 uses threads. threads, prefetch: for each
    process, by default one thread per core and two batches of clips.
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
    """A corpus as a random-access source for grain. A damaged record is a FailedClip.

    Raises InputError for a folder that is no corpus, or for an unknown split.
    """

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
    """This host's share of a configured stream.

    clips: number of distinct clips. error_budget: the failed ones. `iterate` returns batches: dicts
    of arrays [B / hosts, ...], with texts as arrays of str. Raises InputError for settings that
    contradict each other and, during reading, when too many clips fail.
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
            shares = [_host_share(s, config, i, host, hosts) for i, s in enumerate(streams)]
            weights = [source.weight / total for source in config.sources]
            self._elements = grain.MapDataset.mix(shares, weights)
        else:
            whole = grain.MapDataset.concatenate(streams) if len(streams) > 1 else streams[0]
            self._elements = _host_share(whole, config, 0, host, hosts)
        self.error_budget = ErrorBudget(config.tolerance, self.clips)

    def iterate(self, start: int = 0) -> grain.DatasetIterator:
        """Returns the batches after the first `start` clips, including failed ones."""
        config, self.error_budget.seen = self.config, start
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        threads = config.threads or min(16, max(1, cores // max(1, config.workers)))
        prefetch = config.prefetch or max(threads, 2 * config.batch // self.hosts)
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch)
        stream = self._elements[start:].to_iter_dataset(options)
        if config.workers:
            # grain's workers read absl's flags, which only programs started by absl have parsed.
            if not flags.FLAGS.is_parsed():
                flags.FLAGS.mark_as_parsed()
            options = grain.MultiprocessingOptions(num_workers=config.workers)
            stream = stream.mp_prefetch(options, worker_init_fn=_ignore_interrupts)
        # One host keeps the last, incomplete batch (for evaluation). Several hosts drop it, since
        # they must agree on the number of steps.
        stream = stream.filter(self.error_budget)
        return iter(stream.batch(config.batch // self.hosts, drop_remainder=self.hosts > 1))


def _ignore_interrupts(*_) -> None:
    """For workers: Ctrl-C reaches all processes, and the parent process ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _check_alike(corpora: list[ExampleSource]) -> None:
    """Raises InputError if some corpora hold audio and others precomputed arrays."""
    names = {}
    for corpus in corpora:
        example = next((x for x in map(corpus.__getitem__, range(min(8, len(corpus)))) if x), None)
        if isinstance(example, dict):
            names["audio" in example] = corpus.name
    if len(names) > 1:
        raise InputError(
            f"sources: {names[True]} holds sound, {names[False]} is encoded; encode all or none"
        )


def _host_share(stream, config, number, host, hosts):
    """Shuffles and transforms before sharding, so that draws do not depend on the hosts."""
    stream = stream.seed(config.seed * 1000003 + number)
    if config.shuffle:
        stream = stream.shuffle()
    return stream.random_map(config.transform)[host::hosts].repeat(config.epochs)


def _check(config: DataConfig, host: int, hosts: int) -> None:
    """Raises InputError for settings that contradict each other."""
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
