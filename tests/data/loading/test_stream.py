"""Laws of the stream: same seed same stream, hosts disjoint and complete, resumable to the bit."""

import io
import json
import logging
import subprocess
import sys
from collections import Counter

import jax
import numpy as np
import pytest
import soundfile

from audioldm2_jax.data.loading.batches import Batches, arrays
from audioldm2_jax.data.loading.stream import CorpusSource, DataConfig, ExampleSource
from audioldm2_jax.data.loading.transforms import ClipTransform
from audioldm2_jax.errors import InputError
from tests.data.corpora import write_corpus

SHORT = ClipTransform(seconds=0.25)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """24 clips of 0.5 s."""
    return write_corpus(tmp_path_factory.mktemp("pipeline") / "tones", 24)


def config(*folders, **settings):
    settings = {"batch": 4, "transform": SHORT, "threads": 2, "prefetch": 4} | settings
    sources = tuple(f if isinstance(f, CorpusSource) else CorpusSource(str(f)) for f in folders)
    return DataConfig(sources, **settings)


def take(count, *args, **kwargs):
    with Batches(*args, **kwargs) as batches:
        return [next(batches) for _ in range(count)]


def names(batches):
    return [name for batch in batches for name in batch["id"]]


def assert_same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key], err_msg=key)


def test_same_seed_same_stream(corpus):
    first = take(15, config(corpus))
    assert_same(first, take(15, config(corpus, threads=1, prefetch=1)))
    other = take(15, config(corpus, seed=1))
    assert names(first) != names(other)
    crops = {}
    for batch in first:
        for name, caption, wave in zip(batch["id"], batch["caption"], batch["waveform"]):
            crops.setdefault(name, set()).add((caption, wave.tobytes()))
    assert any(len(results) > 1 for results in crops.values()), "each epoch has crops of its own"


def test_an_epoch_is_a_permutation(corpus):
    ids = names(take(12, config(corpus)))
    one, two = ids[:24], ids[24:48]
    assert sorted(one) == sorted(two) == sorted(f"train/{i}" for i in range(24))
    assert one != two and one != sorted(one)
    in_order = names(take(6, config(corpus, shuffle=False)))
    assert in_order == [f"train/{i}" for i in range(24)]


@pytest.mark.parametrize("hosts", [2, 3, 4])
def test_hosts_are_disjoint_and_complete(corpus, hosts):
    """In each of three epochs; and a clip's crop does not depend on who reads it."""
    alone = {}
    for batch in take(18, config(corpus)):
        for i, name in enumerate(batch["id"]):
            alone.setdefault(name, []).append(batch["waveform"][i].tobytes())
    shares = [
        take(18, config(corpus, batch=4 * hosts // 2 * 2), host=h, hosts=hosts)
        for h in range(hosts)
    ]
    size = 24 // hosts
    for epoch in range(3):
        seen = Counter()
        for share in shares:
            clips = [(n, w.tobytes()) for b in share for n, w in zip(b["id"], b["waveform"])][
                epoch * size : (epoch + 1) * size
            ]
            seen.update(name for name, _ in clips)
            assert all(wave == alone[name][epoch] for name, wave in clips)
        assert seen == Counter(f"train/{i}" for i in range(24))


def test_uneven_hosts_are_complete_too(tmp_path):
    corpus = write_corpus(tmp_path / "seven", 7)
    counts = Counter()
    for host in range(2):
        share = names(take(8, config(corpus, batch=2), host=host, hosts=2))
        size = 4 - host
        for epoch in range(2):
            assert len(set(share[epoch * size : (epoch + 1) * size])) == size
        counts.update(share[:size])
    assert counts == Counter(f"train/{i}" for i in range(7))


@pytest.mark.parametrize("place", [1, 4, 9])
def test_restored_equals_continued(corpus, place):
    """In the middle of an epoch, before and after one ends; the state is plain JSON."""
    with Batches(config(corpus)) as batches:
        for _ in range(place):
            next(batches)
        state = json.loads(json.dumps(batches.state()))
        rest = [next(batches) for _ in range(8)]
        batches.restore(state)
        assert_same(rest, [next(batches) for _ in range(8)])
    with Batches(config(corpus, threads=1)) as fresh:
        fresh.restore(state)
        assert_same(rest, [next(fresh) for _ in range(8)])
        assert fresh.state()["position"] == 4 * (place + 8)


def test_restored_in_a_new_process(corpus, tmp_path):
    with Batches(config(corpus)) as batches:
        for _ in range(5):
            next(batches)
        state = batches.state()
        rest = [next(batches) for _ in range(4)]
    program = f"""
import json, sys, numpy as np
from audioldm2_jax.data.loading.batches import Batches
from audioldm2_jax.data.loading.transforms import ClipTransform
from audioldm2_jax.data.loading.stream import DataConfig, CorpusSource
source = CorpusSource({str(corpus)!r})
config = DataConfig((source,), batch=4, transform=ClipTransform(seconds=0.25))
with Batches(config) as batches:
    batches.restore(json.loads({json.dumps(state)!r}))
    for i in range(4):
        np.savez({str(tmp_path)!r} + f"/{{i}}.npz", **next(batches))
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)
    assert_same(rest, [dict(np.load(tmp_path / f"{i}.npz")) for i in range(4)])


def test_another_stream_is_not_resumed(corpus, tmp_path):
    with Batches(config(corpus)) as batches:
        state = batches.state()
        for key, value in (("seed", 1), ("clips", 3), ("hosts", 2)):
            with pytest.raises(InputError, match=f"saved state has {key} {value}"):
                batches.restore(state | {key: value})


@pytest.mark.slow
def test_processes_give_the_same_stream(corpus):
    """Workers decode; stream and state are those of threads, and pass from one to the other."""
    alone = take(10, config(corpus))
    with Batches(config(corpus, workers=2)) as batches:
        assert_same(alone[:6], [next(batches) for _ in range(6)])
        state = batches.state()
        assert_same(alone[6:], [next(batches) for _ in range(4)])
        batches.restore(state)
        assert_same(alone[6:], [next(batches) for _ in range(4)])
    with Batches(config(corpus)) as threads:
        threads.restore(state)
        assert_same(alone[6:], [next(threads) for _ in range(4)])


def test_mixture_weights_hold(corpus, tmp_path):
    """At any point within a clip of the weights; each corpus passes wholly before it repeats."""
    small = write_corpus(tmp_path / "small", 5, first=100)
    sources = CorpusSource(str(corpus), weight=3.0), CorpusSource(str(small), weight=1.0)
    ids = names(take(25, config(*sources)))
    rare = [i for i, name in enumerate(ids) if int(name.split("/")[1]) >= 100]
    for stop in range(8, 101):
        assert abs(sum(i < stop for i in rare) - stop / 4) <= 1
    order = [ids[i] for i in rare]
    for epoch in range(5):
        assert len(set(order[5 * epoch : 5 * epoch + 5])) == 5
    common = [name for name in ids if int(name.split("/")[1]) < 100]
    assert len(set(common[:24])) == 24
    whole = names(take(29, config(corpus, small, batch=1)))
    assert len(set(whole)) == 29, "without weights they are one corpus"


def test_what_a_batch_holds(corpus):
    transform = ClipTransform(seconds=0.75, clap=True, classes=("odd", "even", "absent"))
    (batch,) = take(1, config(corpus, transform=transform))
    assert batch["waveform"].shape == (4, 12000) and batch["waveform"].dtype == np.float32
    assert batch["waveform_48k"].shape == (4, 36000)
    np.testing.assert_array_equal(batch["waveform"][:, 8000:], 0.0)
    np.testing.assert_allclose(batch["seconds"], 0.5)
    np.testing.assert_allclose(np.abs(batch["waveform"]).max(1), 0.5, rtol=1e-5)
    for name, caption, labels in zip(batch["id"], batch["caption"], batch["labels"]):
        number = int(name.split("/")[1])
        assert caption in (f"tone {number}", f"a sine, number {number}")
        np.testing.assert_array_equal(labels, [number % 2, 1 - number % 2, 0])
    assert set(arrays(batch)) == {"waveform", "waveform_48k", "seconds", "labels"}


def test_all_captions_are_drawn(corpus):
    counts = Counter()
    for batch in take(60, config(corpus)):
        counts.update(str(c).split()[0] for c in batch["caption"])
    assert abs(counts["tone"] - counts["a"]) < 60


def test_batches_on_devices(corpus):
    """Global arrays of the batch, ahead of use; the state is that of what was returned."""
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:4]), ("data",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    plain = take(6, config(corpus))
    with Batches(config(corpus), sharding=sharding) as batches:
        placed = [next(batches) for _ in range(3)]
        state = batches.state()
        placed += [next(batches) for _ in range(3)]
    assert state["position"] == 12
    assert placed[0]["waveform"].sharding == sharding and len(sharding.device_set) == 4
    assert_same(plain, placed)


def test_a_finite_stream_ends_with_what_is_left(tmp_path):
    corpus = write_corpus(tmp_path / "ten", 10)
    with Batches(config(corpus, epochs=1, shuffle=False)) as batches:
        assert [len(batch["id"]) for batch in batches] == [4, 4, 2]


class Breaking:
    """ExampleSource of which some hold damaged sound."""

    def __init__(self, source, bad):
        self.examples, self.bad = ExampleSource(source), bad
        self.name = self.examples.name

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, index):
        example = self.examples[index]
        if index in self.bad:
            example = example | {"audio": example["audio"][: len(example["audio"]) // 2]}
        return example


def test_damaged_clips_are_named_and_passed_over(corpus, monkeypatch, caplog):
    monkeypatch.setattr(
        "audioldm2_jax.data.loading.stream.ExampleSource", lambda source: Breaking(source, {3, 17})
    )
    # Crops of the whole clip, so that damage is met whatever part is drawn.
    settings = {"transform": ClipTransform(seconds=0.5), "tolerance": 0.1}
    with caplog.at_level(logging.WARNING), Batches(config(corpus, **settings)) as batches:
        ids = names([next(batches) for _ in range(11)])
        assert batches.failed == dict.fromkeys(
            ("train/3", "train/17"), "broken: it cannot be decoded to its end"
        )
        state = batches.state()
        rest = [next(batches) for _ in range(4)]
        batches.restore(state)
        assert_same(rest, [next(batches) for _ in range(4)])
    assert sorted(ids[:22]) == sorted(f"train/{i}" for i in range(24) if i not in (3, 17))
    assert sum("train/17" in record.message for record in caplog.records) == 1
    with pytest.raises(InputError, match=r"2 of 24 clips cannot be used, more than .* 5.00%"):
        take(12, config(corpus, **settings | {"tolerance": 0.05}))


def test_damaged_records_are_passed_over(tmp_path, monkeypatch):
    corpus = write_corpus(tmp_path / "torn", 16)
    source = ExampleSource(CorpusSource(str(corpus)))
    read = type(source._source).__getitem__

    def torn(self, index):
        if index == 5:
            raise RuntimeError("data corruption")
        return read(self, index)

    monkeypatch.setattr(type(source._source), "__getitem__", torn)
    with Batches(config(corpus, tolerance=0.1)) as batches:
        for _ in range(6):
            next(batches)
        ((name, reason),) = batches.failed.items()
    assert name.endswith("record 5") and reason == "damaged (RuntimeError)"


def test_settings_that_do_not_fit(corpus, tmp_path):
    good = CorpusSource(str(corpus))
    weighted = CorpusSource(str(corpus), weight=1.0)
    for make, message in (
        (config, "sources is empty"),
        (lambda: config(good, weighted), "one for each source, or for none"),
        (lambda: config(CorpusSource(str(corpus), weight=-1.0)), "must be above 0"),
        (lambda: config(weighted, epochs=1), "has no epochs"),
        (lambda: config(good, batch=0), "batch is 0"),
        (lambda: config(good, tolerance=2.0), "tolerance is 2.0"),
        (lambda: config(CorpusSource(str(corpus), "tset")), "no split 'tset'; it has train"),
        (lambda: config(CorpusSource(str(tmp_path))), "a prepared corpus"),
    ):
        with pytest.raises(InputError, match=message):
            Batches(make())
    with pytest.raises(InputError, match="multiple of the 3 hosts"):
        Batches(config(good), hosts=3)
    with pytest.raises(InputError, match="24 clips cannot be dealt to 32 hosts"):
        Batches(config(good, batch=32), hosts=32)


def test_tones_come_out_as_tones(corpus):
    """The crop is a piece of its own file, at its own pitch."""
    for batch in take(3, config(corpus)):
        for name, wave in zip(batch["id"], batch["waveform"]):
            spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 16000))
            assert abs(int(spectrum.argmax()) - (200 + 10 * int(name.split("/")[1]))) <= 2


def test_stored_audio_is_the_file(corpus):
    example = ExampleSource(CorpusSource(str(corpus)))[0]
    assert soundfile.info(io.BytesIO(example["audio"])).samplerate == 16000
