"""Encoded beforehand equals encoded in the step; encoding goes on after a stop."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from audioldm2_jax.checkpoints import hub
from audioldm2_jax.cli.main import main
from audioldm2_jax.data.corpus import precompute as precompute_module
from audioldm2_jax.data.corpus.frozen_encoders import FrozenEncoders, PrecomputeConfig
from audioldm2_jax.data.corpus.precompute import count_crops, precompute
from audioldm2_jax.data.ingest.report import Report
from audioldm2_jax.data.loading import tokenise
from audioldm2_jax.data.loading.batches import Batches, arrays
from audioldm2_jax.data.loading.stream import CorpusSource, DataConfig, ExampleSource
from audioldm2_jax.data.loading.transforms import ClipTransform
from audioldm2_jax.data.untrained import random_checkpoint
from audioldm2_jax.encoders.corpus import encode_audio, encode_texts
from audioldm2_jax.encoders.loa import check_poolings
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import PRESETS, AudioMAEConfig
from tests.data.corpora import write_corpus

SECONDS = 0.64
MAE = AudioMAEConfig(frames=128, width=24, depth=3, heads=2, hidden=48)


@pytest.fixture(scope="module")
def checkpoint():
    """The tiny model with a tiny AudioMAE."""
    return random_checkpoint(dataclasses.replace(PRESETS["tiny"](), audiomae=MAE))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Shorter than a crop, so that both forms hear the same."""
    return write_corpus(tmp_path_factory.mktemp("encode") / "tones", 6, splits=("train", "test"))


@pytest.fixture(scope="module")
def encoded(checkpoint, corpus, tmp_path_factory):
    target = tmp_path_factory.mktemp("encoded") / "out"
    report = Report()
    settings = PrecomputeConfig(seconds=SECONDS, loa=(2, 8), batch=4)
    results = precompute(corpus, target, checkpoint, settings, report=report)
    assert results["splits"] == {"train": 6, "test": 6} and not report.skipped
    return target


def one_epoch(folder, transform, split="train"):
    config = DataConfig((CorpusSource(str(folder), split),), 6, transform, shuffle=False, epochs=1)
    with Batches(config) as batches:
        (batch,) = batches
    return batch


@pytest.mark.slow
def test_both_forms_agree(checkpoint, corpus, encoded):
    """The same clips with the same drawn captions, encoded in the step or read; half precision."""
    config, params = checkpoint.config, checkpoint.params
    numbered = {
        "clap": tokenise.from_tokenizer(checkpoint.tokenizers["tokenizer"], 24),
        "t5": tokenise.from_tokenizer(checkpoint.tokenizers["tokenizer_2"], 24),
    }
    batch = one_epoch(corpus, ClipTransform(SECONDS, clap=True, tokens=numbered))
    computed = encode_audio(params, arrays(batch), config, (2, 8))
    computed |= encode_texts(params, arrays(batch), config)
    read = one_epoch(encoded, ClipTransform(SECONDS, text_length=24, loa=(2,)))
    np.testing.assert_array_equal(read["id"], batch["id"])
    np.testing.assert_array_equal(read["caption"], batch["caption"])
    np.testing.assert_array_equal(read["t5_mask"], batch["t5_mask"])
    names = {"mean": "mean", "logvar": "logvar", "clap_audio": "clap_audio", "loa_2": "loa_2"}
    names |= {"clap_text": "clap_text", "t5": "t5"}
    assert names.keys() <= read.keys()
    for key, name in names.items():
        expected = np.asarray(computed[name])
        if key == "t5":
            expected = expected * batch["t5_mask"][..., None]
        scale = expected.std()
        np.testing.assert_allclose(read[key], expected, atol=4e-3 * scale, err_msg=key)
    assert read["loa_2"].shape == (6, 16, 24) and read["mean"].shape[1:3] == (16, 16)


def test_records_hold_each_pooling(encoded):
    example = ExampleSource(CorpusSource(str(encoded)))[0]
    assert example["loa_2"].shape == (16, 24) and "loa_4" not in example
    assert example["loa_8"].shape == (1, 24) and len(example["captions"]) == 2
    assert len(example["t5_lengths"]) == 2 and example["t5"].shape[0] == sum(example["t5_lengths"])


def test_longer_clips_are_cropped_anew(checkpoint, tmp_path):
    """Crops as asked for, each another piece; clips that fit in one come once."""
    long = write_corpus(tmp_path / "long", 3, seconds=2.0)
    settings = PrecomputeConfig(seconds=SECONDS, crops=3, batch=4)
    assert count_crops(long, settings) == 9
    results = precompute(long, tmp_path / "out", checkpoint, settings, report=Report())
    assert results["clips"] == 9
    examples = list(map(ExampleSource(CorpusSource(str(tmp_path / "out"))).__getitem__, range(9)))
    assert [e["id"].decode() for e in examples[:4]] == [
        "train/0",
        "train/1",
        "train/2",
        "train/0#2",
    ]
    assert not np.array_equal(examples[0]["mean"], examples[3]["mean"])
    short = write_corpus(tmp_path / "short", 3)
    assert precompute(short, tmp_path / "s", checkpoint, settings, report=Report())["clips"] == 3


def test_a_stopped_run_goes_on(checkpoint, corpus, encoded, tmp_path, monkeypatch):
    """The batch's other size, one device or all: the same corpus, up to rounding."""
    monkeypatch.setattr(precompute_module, "shard_size", lambda count: 2)
    settings = PrecomputeConfig(seconds=SECONDS, loa=(2, 8), batch=2)
    done = []

    def stop(count):
        done.append(count)
        if len(done) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        precompute(corpus, tmp_path / "out", checkpoint, settings, report=Report(), progress=stop)
    encode, starts = FrozenEncoders.examples, []

    def counted(self, stream, start, *rest):
        starts.append(start)
        return encode(self, stream, start, *rest)

    monkeypatch.setattr(FrozenEncoders, "examples", counted)
    precompute(corpus, tmp_path / "out", checkpoint, settings, report=Report())
    assert len(starts) == 4, "two of six parts were done"
    for split in ("train", "test"):
        one, other = (
            ExampleSource(CorpusSource(str(f), split)) for f in (encoded, tmp_path / "out")
        )
        for i in range(6):
            assert one[i]["id"] == other[i]["id"]
            np.testing.assert_allclose(one[i]["mean"], other[i]["mean"], atol=5e-3)


def test_the_command(checkpoint, corpus, tmp_path, capsys):
    hub.save(checkpoint, tmp_path / "model")

    def run(*arguments):
        model = ("--model_name", str(tmp_path / "model"), "-dur", str(SECONDS), "-q")
        return main(["encode", *model, *map(str, arguments)])

    assert run(corpus, tmp_path / "out", "--loa", "8") == 0
    assert json.loads(capsys.readouterr().out)["clips"] == 12
    batch = one_epoch(tmp_path / "out", ClipTransform(loa=(8,)))
    assert batch["loa_8"].shape == (6, 1, 24)
    for arguments, message in (
        ((corpus, tmp_path / "new", "--loa", "3"), "--loa 3: the grid"),
        ((corpus, tmp_path / "new", "--loa", "x"), "--loa x: numbers"),
        ((corpus, tmp_path / "new", "--crops", "0"), "--crops is 0"),
        ((corpus, tmp_path / "new", "-dur", "0.65"), "the VAE takes multiples of 0.04 s"),
        ((tmp_path / "out", tmp_path / "new"), "it is encoded already"),
        ((tmp_path / "model", tmp_path / "new"), "a prepared corpus"),
        ((corpus, tmp_path / "out"), "made otherwise (loa [8], now []"),
    ):
        assert run(*arguments) == 2, message
        assert message in capsys.readouterr().err
        assert not (tmp_path / "new").exists()


def test_models_without_audiomae(corpus):
    config = PRESETS["tiny"]()
    with pytest.raises(InputError, match="no AudioMAE"):
        check_poolings(config, (8,))


@pytest.mark.slow
def test_bf16_encoders_run(checkpoint, corpus):
    batch = one_epoch(corpus, ClipTransform(SECONDS, clap=True))
    params = checkpoint.params
    full = encode_audio(params, arrays(batch), checkpoint.config, (8,))
    half = encode_audio(params, arrays(batch), checkpoint.config, (8,), jnp.bfloat16)
    for key, value in full.items():
        assert half[key].dtype == jnp.float32
        assert np.abs(np.asarray(half[key] - value)).mean() < 0.1 * float(value.std()) + 0.02
