"""Token stores: what they hold, that a stopped run goes on, and what is refused."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
import soundfile

from audioldm2_jax.audio import resample
from audioldm2_jax.checkpoints import single
from audioldm2_jax.checkpoints.init import random_params
from audioldm2_jax.checkpoints.single import Single
from audioldm2_jax.cli.main import main
from audioldm2_jax.data.ingest.report import Report
from audioldm2_jax.data.tokens import tokenize as module
from audioldm2_jax.data.tokens.store import TokenStore, check_record
from audioldm2_jax.encoders.codec import Codec
from audioldm2_jax.encoders.repeats import repeat
from audioldm2_jax.encoders.semantic import SemanticTokenizer
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import ENCODEC, HuBERTConfig, KMeansConfig
from tests.data.corpora import write_corpus

CODEC = dataclasses.replace(
    ENCODEC["encodec_24khz"],
    filters=2,
    width=4,
    strides=(8, 40),
    codebook=16,
    bandwidths=(0.9,),
)
HUBERT = HuBERTConfig(
    channels=(4,) * 7, width=8, depth=1, heads=1, hidden=8, position_kernel=4, position_groups=2
)
KMEANS = KMeansConfig(codebook=5, width=8, layer=1, frame_rate=50)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Sounds and models: a codec at 24 kHz, and an encoder with its centroids in it."""
    folder = tmp_path_factory.mktemp("tokens")
    configs = {"codec": CODEC, "semantic": HUBERT, "semantic/kmeans": KMEANS}
    for (name, config), part in zip(configs.items(), ("encodec", "hubert", "kmeans")):
        single.save(Single(part, config, random_params(part, config)), folder / name)
    sounds = folder / "sounds"
    sounds.mkdir()
    rng = np.random.default_rng(0)
    for i, seconds in enumerate((0.4, 1.0, 0.02)):
        wave = np.cumsum(rng.standard_normal((int(16000 * seconds), 1 + i % 2)), 0) * 0.01
        soundfile.write(sounds / f"{i}.wav", np.clip(wave, -1, 1), 16000)
        (sounds / f"{i}.txt").write_text(f"sound {i}")
    (sounds / "3.wav").write_bytes(b"RIFF")
    return folder


def words(place, target, *more):
    """The command's arguments; pieces of half a second."""
    models = ["--codec", str(place / "codec"), "--semantic", str(place / "semantic")]
    return ["tokenize", str(place / "sounds"), str(target), *models, "-dur", "0.5", "-q", *more]


@pytest.fixture(scope="module")
def store(place):
    assert main(words(place, place / "store")) == 0
    return place / "store"


def test_records_hold_the_tokens_of_their_pieces(place, store):
    tokens = TokenStore(store)
    assert [tokens[i]["id"] for i in range(len(tokens))] == ["0.wav", "1.wav", "1.wav@0.500"]
    semantic = SemanticTokenizer.from_pretrained(place / "semantic")
    codec = Codec.from_pretrained(place / "codec")
    for record in map(tokens.__getitem__, range(len(tokens))):
        wave, _ = soundfile.read(place / "sounds" / record["id"][:5], dtype="float32")
        wave = wave.reshape(len(wave), -1)[None, :, 0]
        start = round(record["start"] * 16000)
        wave = wave[:, start : start + round(record["seconds"] * 16000)]
        ids = semantic.encode(wave)
        frames = int(record["run_lengths"].sum())
        assert frames == ids.shape[1]
        back = repeat(record["semantic"][None], record["run_lengths"][None], frames)
        np.testing.assert_array_equal(back, ids)
        assert (np.diff(record["semantic"]) != 0).all()
        codes = codec.encode(resample(wave, 16000, 24000))
        np.testing.assert_array_equal(record["acoustic"], codes[0])
        assert record["captions"] == [f"sound {record['id'][0]}"]
    assert tokens.settings["codec"]["fingerprint"] == codec.fingerprint
    assert tokens.settings["semantic"]["layer"] == 1


def test_skipped_recordings_are_reported(store):
    lines = map(json.loads, (store / "skipped.jsonl").read_text().splitlines())
    reasons = {line["name"]: line["reason"] for line in lines if not line.get("kept")}
    assert reasons["2.wav"] == "shorter than one frame of the semantic encoder"
    assert "3.wav" in reasons


def test_a_stopped_run_goes_on(place, store, monkeypatch, capsys):
    """And a run with other settings is refused."""
    monkeypatch.setattr(module, "shard_size", lambda count: 1)
    target, finish = place / "again", module.CorpusWriter.finish

    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(module.CorpusWriter, "finish", stop)
    assert main(words(place, target)) == 130
    monkeypatch.setattr(module.CorpusWriter, "finish", finish)
    assert main(words(place, target, "--levels", "1")) == 2
    assert "codec/levels 3, now 1" in capsys.readouterr().err
    written = {path.stat().st_mtime_ns for path in (target / ".work").glob("*.array_record")}
    assert main(words(place, target)) == 0
    ours, whole = TokenStore(target), TokenStore(store)
    assert len(ours) == len(whole)
    jax.tree.map(np.testing.assert_array_equal, ours[2], whole[2])
    moved = {path.stat().st_mtime_ns for path in target.glob("*.array_record-*")}
    assert moved and moved <= written


def test_damaged_stores(store, tmp_path):
    shutil.copytree(store, tmp_path / "cut")
    (shard,) = (tmp_path / "cut").glob("*.array_record-*")
    content = shard.read_bytes()
    shard.write_bytes(content[:-100])
    with pytest.raises(InputError, match="bytes of"):
        TokenStore(tmp_path / "cut")
    shard.unlink()
    with pytest.raises(InputError, match="missing"):
        TokenStore(tmp_path / "cut")
    shard.write_bytes(bytes(len(content)))
    with pytest.raises(InputError):
        TokenStore(tmp_path / "cut")[0]
    with pytest.raises(InputError, match="split 'test'"):
        TokenStore(store, "test")
    with pytest.raises(InputError, match="no token store; make one"):
        TokenStore(tmp_path)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"acoustic": np.full((3, 2), 16)}, "acoustic token 16"),
        ({"semantic": np.array([5])}, "semantic token 5"),
        ({"acoustic": np.zeros((3, 1), int)}, "2 levels"),
        ({"run_lengths": np.array([1, 1])}, "run lengths"),
        ({"run_lengths": np.array([0])}, "run lengths"),
        ({"semantic": np.array([], int)}, "no semantic"),
    ],
)
def test_tokens_out_of_range(change, word):
    record = {"semantic": np.array([4]), "run_lengths": np.array([3])}
    record["acoustic"] = np.full((3, 2), 15)
    settings = {"semantic": {"codebook": 5}, "codec": {"codebook": 16, "levels": 2}}
    check_record(record, settings, "here")
    with pytest.raises(InputError, match=f"here: .*{word}"):
        check_record(record | change, settings, "here")


def test_fit_centroids(place, tmp_path):
    """Centroids at 25 Hz from the command, with which another run makes tokens."""
    fit = ["tokenize", str(place / "sounds"), str(tmp_path / "km"), "-q", "--layer", "1"]
    fit += ["--semantic", str(place / "semantic"), "--fit_centroids", "3", "--frame_rate", "25"]
    assert main(fit) == 0
    assert single.load(tmp_path / "km").config == KMeansConfig(3, 8, 1, 25)
    assert main(fit) == 2
    make = ["tokenize", str(place / "sounds"), str(tmp_path / "store"), "-q", "--repeats"]
    make += ["--semantic", str(place / "semantic"), "--kmeans", str(tmp_path / "km")]
    assert main(make) == 0
    record = TokenStore(tmp_path / "store")[1]
    assert "run_lengths" not in record and "acoustic" not in record
    assert record["semantic"].shape == (25,) and record["semantic"].max() < 3


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ([], "neither --codec nor --semantic"),
        (["--codec", "x", "--layer", "3"], "--layer"),
        (["--semantic", "x", "--fit_centroids", "3"], "--layer"),
        (["--codec", "x", "--semantic", "x", "--layer", "3", "--fit_centroids", "3"], "--codec"),
        (["--codec", "x", "-dur", "nan"], "--seconds"),
    ],
)
def test_options_that_do_not_go_together(more, word, tmp_path, capsys):
    assert main(["tokenize", str(tmp_path / "a"), str(tmp_path / "b"), *more]) == 2
    assert word in capsys.readouterr().err


def test_corpora(place, tmp_path):
    """A prepared corpus in place of a folder, with its texts; a codec alone."""
    corpus, target = write_corpus(tmp_path / "corpus", 2), tmp_path / "store"
    codec = ["--codec", str(place / "codec"), "--levels", "2"]
    assert main(["tokenize", str(corpus), str(target), *codec, "-q"]) == 0
    store = TokenStore(target)
    record = store[1]
    assert record["id"] == "train/1" and record["labels"] == ["odd", "tone"]
    assert "semantic" not in record and record["acoustic"].shape[1] == 2
    assert store.settings["semantic"] is None and store.settings["codec"]["frame_rate"] == 75


def test_other_sources_are_refused(place, store, tmp_path):
    semantic = SemanticTokenizer.from_pretrained(place / "semantic")
    config = module.TokenizeConfig()
    for source, word in ((store, "no audio"), (tmp_path, "no audio"), (tmp_path / "x", "folder")):
        with pytest.raises(InputError, match=word):
            module.tokenize(source, tmp_path / "t", None, semantic, config, report=Report())
