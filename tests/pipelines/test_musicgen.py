"""MusicGen against transformers on random weights: files, logits, whole generations; and laws."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
import torch
from oracles import musicgen as reference
from oracles.musicgen import TEXTS
from transformers import AutoProcessor, MusicgenConfig, MusicgenForConditionalGeneration

from audioldm2_jax import Pipeline
from audioldm2_jax.checkpoints import hub
from audioldm2_jax.checkpoints.convert import from_params
from audioldm2_jax.checkpoints.parts import PARTS
from audioldm2_jax.checkpoints.tokenizer_files import write_tokenizer
from audioldm2_jax.cli import main as cli
from audioldm2_jax.data.corpus.tokenizer_training import train_unigram
from audioldm2_jax.encoders.codec import Codec
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.musicgen import MusicGenLM
from audioldm2_jax.models.t5 import T5Encoder
from audioldm2_jax.pipelines.music_request import check_music_request
from audioldm2_jax.pipelines.musicgen import MusicGen
from audioldm2_jax.pipelines.streams import windows
from audioldm2_jax.pipelines.text import for_t5
from audioldm2_jax.presets import MusicGenConfig

AUTHORS = hub.convention_named("authors")
LIKELIEST = {"temperature": 0.0, "progress": False}


@pytest.fixture(scope="module")
def theirs():
    return reference.model()


@pytest.fixture(scope="module")
def tokenizer():
    return train_unigram(TEXTS * 4, 300)


@pytest.fixture(scope="module")
def folder(theirs, tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("musicgen") / "tiny"
    theirs.save_pretrained(path)
    write_tokenizer(tokenizer, path)
    return path


@pytest.fixture(scope="module")
def music(folder):
    return MusicGen.from_pretrained(folder, progress=False)


def test_its_codec_serves_alone(folder, music):
    codec = Codec.from_pretrained(folder)
    assert codec.config == music.config.encodec
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 40 * codec.hop)).astype(np.float32)
    np.testing.assert_array_equal(codec.encode(wave), music.codec.encode(wave))


def test_written_as_it_was_read(theirs, folder, tmp_path):
    """One file or shards in, one file out; transformers misses nothing in it."""
    first = hub.load(folder)
    theirs.save_pretrained(tmp_path / "shards", max_shard_size="300KB")
    assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 1
    hub.save(first, tmp_path / "ours")
    (tmp_path / "ours" / "tokenizer.json").rename(tmp_path / "shards" / "tokenizer.json")
    hub.save(hub.load(tmp_path / "shards"), tmp_path / "again")
    loaded, info = MusicgenForConditionalGeneration.from_pretrained(
        tmp_path / "again", output_loading_info=True
    )
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    for name, value in theirs.state_dict().items():
        if not name.endswith(("inited", "cluster_size", "embed_avg")):
            torch.testing.assert_close(loaded.state_dict()[name], value, rtol=1e-6, atol=1e-7)
    assert loaded.generation_config.max_length == 1500
    processor = AutoProcessor.from_pretrained(tmp_path / "again")
    assert processor.feature_extractor.sampling_rate == 3200
    again = hub.load(tmp_path / "again")
    assert again.config == first.config
    assert again.config.musicgen_lm.window == 1500
    assert (again.config.t5.gated, again.config.musicgen_lm.text_width) == (False, 24)


@torch.no_grad()
def test_logits(theirs, music):
    lm, rng = music.config.musicgen_lm, np.random.default_rng(0)
    ids, tokens = rng.integers(3, 300, (2, 9)), rng.integers(0, 65, (2, 11, 4))
    mask = np.arange(9) < np.array([[9], [4]])
    expected = theirs(
        input_ids=torch.tensor(ids),
        attention_mask=torch.tensor(mask).long(),
        decoder_input_ids=torch.tensor(tokens.transpose(0, 2, 1).reshape(8, 11)),
    ).logits.numpy()
    expected = expected.reshape(2, 4, 11, 64).transpose(0, 2, 1, 3)

    @jax.jit
    def logits(params):
        states = T5Encoder(music.config.t5).apply({"params": params["t5"]}, ids, mask)
        return MusicGenLM(lm).apply({"params": params["musicgen_lm"]}, tokens, states, mask)

    ours = logits({name: music.params[name] for name in ("t5", "musicgen_lm")})
    assert np.abs(ours - expected).max() < 1e-4 * expected.std()


def test_a_generation_is_transformers_own(theirs, music, tokenizer):
    """210 frames of two prompts of several lengths, guided: the same tokens and the same sound."""
    tokens, mask = for_t5(TEXTS, tokenizer)
    assert mask.sum(1)[0] < mask.sum(1)[1]
    expected, waves = reference.generate(theirs, tokens, mask, 210)
    request = check_music_request(music.config, prompt=TEXTS, seconds=4.2, temperature=0.0)
    codes = music.codes(request, progress=False)
    np.testing.assert_array_equal(codes, expected)
    assert len(np.unique(codes)) > 30, "a model that repeats itself proves little"
    assert np.abs(music._decode(codes) - waves[:, 0]).max() < 1e-4 * waves.std()


def test_a_continuation_is_transformers_own(theirs, music, tokenizer):
    """The recording's own codes come first, unchanged."""
    wave = 0.1 * np.random.default_rng(0).standard_normal(3200).astype(np.float32)
    tokens, mask = for_t5(TEXTS[:1], tokenizer)
    expected, _ = reference.generate(theirs, tokens, mask, 30, wave[None, None])
    recording = music.recording(wave)
    settings = {"prompt": TEXTS[0], "seconds": 0.6, "temperature": 0.0}
    request = check_music_request(music.config, recording=recording, **settings)
    codes = music.codes(request, progress=False)
    assert codes.shape == (1, 80, 4)
    np.testing.assert_array_equal(codes, expected)
    np.testing.assert_array_equal(codes[:, :50], music.codec.encode(wave[None]))


def test_clips_are_of_their_own_requests(music):
    """Drawn clips: alone == among others; another seed, text or guidance is another clip."""
    settings = {"seconds": 0.6, "progress": False}
    both = music(TEXTS, seed=3, **settings).audio
    alone = music(TEXTS[1], seed=3, first_clip=1, **settings).audio
    np.testing.assert_allclose(alone[0], both[1], atol=1e-5)
    assert np.abs(music(TEXTS, seed=4, **settings).audio - both).max() > 1e-3
    assert np.abs(music(TEXTS, seed=3, guidance=2.0, **settings).audio - both).max() > 1e-3


def test_a_long_piece_is_made_in_windows(music):
    """Each window begins with the end of what there is, as if that were a prompt."""
    lm = dataclasses.replace(music.config.musicgen_lm, window=20)
    assert windows(lm, 0, 20) == [(0, 0, 20)]
    assert windows(lm, 15, 20) == [(0, 15, 20)]
    assert windows(lm, 0, 40) == [(0, 0, 20), (12, 20, 32), (24, 32, 40)]
    assert windows(lm, 30, 40) == [(22, 30, 40)]
    short = MusicGen.__new__(MusicGen)
    short.__dict__ |= music.__dict__ | {"config": dataclasses.replace(music.config, musicgen_lm=lm)}
    request = check_music_request(short.config, prompt=TEXTS, seconds=0.8, temperature=0.0)
    codes = short.codes(request, progress=False)
    assert codes.shape == (2, 40, 4)
    first = dataclasses.replace(request, frames=20)
    np.testing.assert_array_equal(codes[:, :20], short.codes(first, progress=False))


def test_stereo_streams_are_transformers_own(tokenizer, tmp_path):
    """Two channels' levels in turn, late by pairs."""
    theirs = reference.model(channels=2)
    theirs.save_pretrained(tmp_path)
    write_tokenizer(tokenizer, tmp_path)
    music = MusicGen.from_pretrained(tmp_path, progress=False)
    tokens, mask = for_t5(TEXTS, tokenizer)
    expected, waves = reference.generate(theirs, tokens, mask, 12)
    request = check_music_request(music.config, prompt=TEXTS, seconds=0.24, temperature=0.0)
    codes = music.codes(request, progress=False)
    np.testing.assert_array_equal(codes, expected)
    out = music(TEXTS, seconds=0.24, **LIKELIEST)
    assert np.abs(out.audio - waves.transpose(0, 2, 1)).max() < 1e-4 * waves.std()
    (path, _) = out.save(tmp_path / "out", loudness="raw", pictures=True)
    sound, _ = soundfile.read(path)
    np.testing.assert_allclose(sound, np.clip(out.audio[0], -1, 1), atol=1e-4)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"prompt": " "}, "prompt 1 of 1 is empty"),
        ({"candidates": 2}, "candidates is 2, but .* holds no CLAP"),
        ({"seconds": 0.001}, "the shortest clip is 0.02 s"),
        ({"seconds": 1e9}, "the longest clip"),
        ({"temperature": -1}, "temperature is -1"),
        ({"top_p": 0.0}, "top_p is 0"),
        ({"guidance": float("nan")}, "guidance is nan"),
    ],
)
def test_bad_requests_are_one_line(music, change, message):
    with pytest.raises(InputError, match=message) as caught:
        music(**{"prompt": "a dog", "progress": False} | change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "wave, message",
    [
        (np.zeros(3200, np.float32), "silence"),
        (np.tile(np.float32([0.1, -0.1]), 5), r"shorter than a frame of the codec \(0.02 s\)"),
        (np.full(3200, np.nan, np.float32), "NaN"),
        ("none.wav", "no such file"),
    ],
)
def test_bad_recordings_are_one_line(music, wave, message):
    with pytest.raises(InputError, match=message):
        music.continuation(wave, progress=False)


@pytest.mark.parametrize(
    "section, change, message",
    [
        ("decoder", {"num_codebooks": 8}, "8 streams of 64 tokens, but audio_encoder has 4 of 64"),
        ("decoder", {"vocab_size": 128}, "pad_token_id is 64; only 128 is supported"),
        ("decoder", {"hidden_size": "32"}, "config.json: decoder: hidden_size is '32'"),
        ("decoder", {"num_hidden_layers": 3}, "tensor decoder.model.decoder.layers.2"),
        ("text_encoder", {"feed_forward_proj": "gated-silu"}, "feed_forward_proj"),
        ("text_encoder", {"d_model": 32}, "has shape"),
    ],
)
def test_damaged_files_are_named(folder, tmp_path, section, change, message):
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).symlink_to(folder / name)
    content = json.loads((folder / "config.json").read_text())
    content[section] |= change
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message) as caught:
        hub.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_every_tensor_of_the_full_size_has_its_place():
    """The table names what transformers' class of musicgen-small holds, shape by shape."""
    config, part = MusicGenConfig(), PARTS["musicgen_lm"]
    with torch.device("meta"):
        module = MusicgenForConditionalGeneration(MusicgenConfig())
    expected = {key: tuple(p.shape) for key, p in module.state_dict().items()}
    expected = {k: v for k, v in expected.items() if k.startswith(("decoder.", "enc_to_dec"))}
    params = jax.tree.map(
        lambda s: np.broadcast_to(np.float32(0), s.shape), part.shapes(config.musicgen_lm)
    )
    # transformers' default text encoder is T5 small.
    ours = from_params(params, part.table(config.musicgen_lm), config.musicgen_lm)
    expected["enc_to_dec_proj.weight"] = (1024, 768)
    assert {key: value.shape for key, value in ours.items()} == expected
    assert (config.frame_rate, config.seconds) == (50, 30)


def test_relatives_are_refused_by_name(folder, tmp_path):
    content = json.loads((folder / "config.json").read_text())
    content["architectures"] = ["MusicgenMelodyForConditionalGeneration"]
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(
        InputError, match="a 'MusicgenMelodyFor.*, which is not read here; Musicgen"
    ):
        MusicGen.from_pretrained(tmp_path)
    with pytest.raises(InputError, match="facebook/audiogen-medium: the hub has audiocraft's"):
        MusicGen.from_pretrained("facebook/audiogen-medium")
    with pytest.raises(InputError, match="of the family musicgen; audioldm2 .* can run here"):
        Pipeline.from_pretrained(folder)


def test_commands(folder, tmp_path, capsys):
    arguments = ["generate", "-t", TEXTS[0], "--model", str(folder), "-s", str(tmp_path), "-q"]
    assert cli.main([*arguments, "-dur", "0.6", "--seed", "3"]) == 0
    (path,) = capsys.readouterr().out.split()
    assert soundfile.info(path).samplerate == 3200 and soundfile.info(path).frames == 30 * 64
    record = json.loads((tmp_path / path).with_suffix(".json").read_text())
    expected = {"prompt": TEXTS[0], "seed": 3, "guidance": 3.0, "top_k": 250, "seconds": 0.6}
    assert expected.items() <= record.items()
    wave = 0.1 * np.random.default_rng(0).standard_normal(3200)
    soundfile.write(tmp_path / "song.wav", wave, 3200)
    arguments_of_continue = ["continue", str(tmp_path / "song.wav"), "-d", "0.6", "-n", "2", "-q"]
    arguments_of_continue += ["--model", str(folder), "-s", str(tmp_path / "on")]
    assert cli.main(arguments_of_continue) == 0
    paths = capsys.readouterr().out.split()
    assert [soundfile.info(path).frames for path in paths] == [80 * 64] * 2
    for option, word in (("--steps=30", "--steps 30"), ("--low_memory", "--low_memory")):
        assert cli.main([*arguments, option]) == 2
        assert f"error: {word}: {folder}" in capsys.readouterr().err
    assert cli.main(["doctor", "--model", str(folder), "-dur", "0.6", "-d", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert (
        "musicgen_lm" in printed and "1 clip of 0.6 s, as compiled for this device: fits" in printed
    )
    assert cli.main(["convert", str(folder), str(tmp_path / "half"), "--dtype", "bf16", "-q"]) == 0
    assert hub.read_config(tmp_path / "half", AUTHORS) == hub.read_config(folder, AUTHORS)
    assert jax.tree.leaves(hub.load_part(
        tmp_path / "half", "t5", hub.read_config(folder, AUTHORS).t5, jnp.bfloat16
    ))[0].dtype == jnp.bfloat16  # fmt: skip
