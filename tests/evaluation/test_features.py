"""Features of a set: its order, a cache by content, work that resumes, damage, several hosts."""

import dataclasses
import hashlib
from types import SimpleNamespace

import numpy as np
import pytest

from audioldm2_jax.data.ingest.file_ref import Unreadable
from audioldm2_jax.errors import InputError, NumericalError
from audioldm2_jax.evaluation import features
from audioldm2_jax.evaluation.backbones.base import Backbone, Batches, Row
from audioldm2_jax.evaluation.features import extract, extract_all


@dataclasses.dataclass(frozen=True)
class Rules:
    """Of a loader, as far as the cache's key needs them."""

    gain: float = 1.0


class Set:
    """Clips in memory: what `extract` asks of a ClipSet. None stands for an unreadable clip."""

    name = "set"

    def __init__(self, waveforms):
        self.waveforms = waveforms
        self.clips = tuple(SimpleNamespace(name=name) for name in sorted(waveforms))
        self.reads = []

    def content_hash(self, clip):
        if self.waveforms[clip.name] is None:
            raise Unreadable("broken")
        return hashlib.sha256(self.waveforms[clip.name].tobytes()).hexdigest()

    def read(self, clip, rules, sample_rate):
        self.reads.append(clip.name)
        if self.waveforms[clip.name] is None:
            raise Unreadable("broken")
        assert sample_rate == 100
        return rules.gain * self.waveforms[clip.name]


def _moments(params, values, extents):
    scale = params["scale"]
    return scale * values[:, :2], scale * values[:, 2:5]


class Patches(Backbone):
    """A network of patches of 5 samples: their first two are the embedding, the others logits."""

    name, sample_rate, sha256, labels = "patches", 100, "0" * 64, ("a", "b", "c")

    def __init__(self, scale=1.0):
        super().__init__(Batches({"scale": np.float32(scale)}, _moments))

    def rows(self, waveform):
        return [Row(waveform[i : i + 5], 5) for i in range(0, len(waveform) - 4, 5)]


def clip_set(count=7, first=0):
    rng = np.random.default_rng(0)
    waves = {f"{i:02}.wav": rng.standard_normal(5 * (1 + i % 3)) for i in range(first + count)}
    return Set({k: v.astype(np.float32) for k, v in list(waves.items())[first:]})


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(features, "_CLIPS", 1 / 4)  # of eight devices: two clips


def check(result, clips):
    readable = {k: v for k, v in clips.waveforms.items() if v is not None}
    assert result.names == sorted(readable)
    patches = {name: wave.reshape(-1, 5) for name, wave in readable.items()}
    expected = np.concatenate([patches[name][:, :2] for name in result.names])
    np.testing.assert_array_equal(result.embeddings, expected)
    counts = [len(patches[name]) for name in result.names]
    np.testing.assert_array_equal(result.clip_index, np.repeat(np.arange(len(counts)), counts))
    logits = np.stack([patches[name][:, 2:].mean(0) for name in result.names])
    np.testing.assert_allclose(result.logits, logits, atol=1e-6)


def test_features_are_in_the_sets_order(capsys):
    clips = clip_set()
    clips.waveforms["03.wav"] = None
    result = extract(clips, Patches(), Rules(), progress=True)
    check(result, clips)
    assert (result.backbone, result.sha256, result.labels) == ("patches", "0" * 64, ("a", "b", "c"))
    assert "patches: set: 7 of 7" in capsys.readouterr().err


def test_a_set_without_readable_clips_is_refused():
    with pytest.raises(InputError, match="set: none of its 2 clips can be read"):
        extract(Set({"a": None, "b": None}), Patches(), Rules())


def test_the_cache_goes_by_content(tmp_path, small_chunks):
    clips = clip_set()
    first = extract(clips, Patches(), Rules(), cache=tmp_path)
    check(first, clips)
    # Renamed clips, and one new one: only that is read.
    moved = Set({f"moved/{name}": wave for name, wave in clips.waveforms.items()})
    moved.waveforms["moved/07.wav"] = np.arange(5, dtype=np.float32)
    moved = Set(moved.waveforms)
    check(extract(moved, Patches(), Rules(), cache=tmp_path), moved)
    assert moved.reads == ["moved/07.wav"]
    # Other rules and other weights are other features.
    again = clip_set()
    loud = extract(again, Patches(), Rules(gain=2.0), cache=tmp_path)
    np.testing.assert_array_equal(loud.embeddings, 2 * first.embeddings)
    other = Patches(3.0)
    other.sha256 = "1" * 64
    np.testing.assert_allclose(
        extract(again, other, Rules(), cache=tmp_path).embeddings, 3 * first.embeddings
    )
    assert len(again.reads) == 14


def test_networks_of_one_reader_read_a_clip_once(tmp_path, small_chunks):
    """Also where one has the clips in its cache, and the other has not."""
    clips, third = clip_set(), Patches(3.0)
    third.sha256 = "3" * 64
    first, tripled = extract_all(clips, [Patches(), third], Rules(), cache=tmp_path)
    check(first, clips)
    np.testing.assert_allclose(tripled.embeddings, 3 * first.embeddings)
    assert sorted(clips.reads) == sorted(clips.waveforms) and tripled.sha256 == "3" * 64
    other, again = Patches(5.0), clip_set()
    other.sha256 = "5" * 64
    known, new = extract_all(again, [third, other], Rules(), cache=tmp_path)
    np.testing.assert_array_equal(known.embeddings, tripled.embeddings)
    np.testing.assert_allclose(new.embeddings, 5 * first.embeddings)
    assert sorted(again.reads) == sorted(again.waveforms)
    other.sample_rate = 200
    with pytest.raises(InputError, match="several rates"):
        extract_all(again, [third, other], Rules())


def test_stopped_work_goes_on(tmp_path, small_chunks):
    """A run that dies in its third chunk leaves the first two behind."""

    class Dies(Patches):
        def __call__(self, waveforms):
            self.calls = getattr(self, "calls", 0) + 1
            if self.calls == 3:
                raise KeyboardInterrupt
            return super().__call__(waveforms)

    clips = clip_set()
    with pytest.raises(KeyboardInterrupt):
        extract(clips, Dies(), Rules(), cache=tmp_path)
    clips.reads.clear()
    check(extract(clips, Patches(), Rules(), cache=tmp_path), clips)
    assert sorted(clips.reads) == ["04.wav", "05.wav", "06.wav"]


def test_damaged_files_are_computed_again(tmp_path, small_chunks, capsys):
    clips = clip_set()
    extract(clips, Patches(), Rules(), cache=tmp_path)
    paths = sorted(tmp_path.glob("*/*.npz"))
    assert len(paths) == 4
    content = paths[0].read_bytes()
    damages = (b"", content[: len(content) // 2], b"x" * len(content))
    flipped = bytearray(content)
    flipped[content.index(b"embeddings.npy") + 200] ^= 255
    for damage in (*damages, bytes(flipped)):
        paths[0].write_bytes(damage)
        clips.reads.clear()
        check(extract(clips, Patches(), Rules(), cache=tmp_path), clips)
        assert 1 <= len(clips.reads) <= 2
        assert f"{paths[0]}: a damaged file of features" in capsys.readouterr().err
    check(extract(clips, Patches(), Rules(), cache=tmp_path), clips)
    assert not capsys.readouterr().err


def test_any_flipped_byte_does_no_harm(tmp_path, small_chunks, capsys):
    """Of a zip's directory, too: other methods, flags, versions and names of its members."""
    clips = clip_set(2)
    extract(clips, Patches(), Rules(), cache=tmp_path)
    (path,) = tmp_path.glob("*/*.npz")
    content, rng, damaged = path.read_bytes(), np.random.default_rng(0), 0
    directory = content.index(b"PK\x01\x02")
    # No CRC covers the directory: two thirds of the flips are there.
    places = [*rng.integers(0, len(content), 100), *rng.integers(directory, len(content), 200)]
    for place in places:
        flipped = bytearray(content)
        flipped[place] ^= 1 << rng.integers(8)
        path.write_bytes(flipped)
        clips.reads.clear()
        check(extract(clips, Patches(), Rules(), cache=tmp_path), clips)
        said = f"{path}: a damaged file of features; it is deleted" in capsys.readouterr().err
        assert said == bool(clips.reads)
        damaged += said
    assert damaged > 100


class Mute(Patches):
    """The same network without classes."""

    labels = ()

    def __call__(self, waveforms):
        return [output._replace(logits=None) for output in super().__call__(waveforms)]


@pytest.mark.parametrize("writer, reader", [(Mute, Patches), (Patches, Mute)])
def test_files_have_the_arrays_of_their_network(tmp_path, small_chunks, capsys, writer, reader):
    clips = clip_set()
    extract(clips, writer(), Rules(), cache=tmp_path)
    result = extract(clips, reader(), Rules(), cache=tmp_path)
    assert capsys.readouterr().err.count("a damaged file of features") == 4
    assert (result.logits is None) == (reader is Mute)
    assert extract(clips, reader(), Rules(), cache=tmp_path).names == result.names
    assert not capsys.readouterr().err


def test_values_that_are_not_finite_are_an_error():
    with pytest.raises(NumericalError, match="patches gives values that are not finite"):
        extract(clip_set(), Patches(np.nan), Rules())


def test_hosts_share_the_clips(monkeypatch):
    """Two hosts have every second clip each; after the exchange both have all in order."""
    clips, shares = clip_set(), []
    monkeypatch.setattr(features.jax, "process_count", lambda: 2)
    monkeypatch.setattr(features.distributed, "gather_bytes", shares.append)
    for index in (0, 1):
        monkeypatch.setattr(features.jax, "process_index", lambda index=index: index)
        with pytest.raises(TypeError):  # what `gather_bytes` gave is not iterable
            extract(clips, Patches(), Rules())
    monkeypatch.setattr(features.distributed, "gather_bytes", lambda content: shares)
    assert sorted(clips.reads) == sorted(clips.waveforms)
    check(extract(clips, Patches(), Rules()), clips)
