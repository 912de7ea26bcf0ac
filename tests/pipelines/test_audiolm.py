"""AudioLM end to end on a tiny random checkpoint: what stands, what slides, what is refused."""

import dataclasses
import json

import numpy as np
import pytest

from audioldm2_jax.checkpoints import hub
from audioldm2_jax.data.untrained import random_audiolm
from audioldm2_jax.errors import InputError
from audioldm2_jax.pipelines.audiolm import AudioLM
from audioldm2_jax.pipelines.audiolm_request import check_request
from audioldm2_jax.presets import SoundStreamConfig, W2VBERTConfig
from audioldm2_jax.presets.audiolm import Clock, check_parts, tiny_audiolm

CONFIG = tiny_audiolm()
RATE = 16000
HOP = CONFIG.codec.hop


def wave(seconds=1.0, seed=0):
    samples = round(seconds * RATE)
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def changed(**sequences):
    own = dataclasses.replace(CONFIG.sequences, **sequences)
    return dataclasses.replace(CONFIG, sequences=own)


@pytest.fixture(scope="module")
def model():
    return AudioLM(random_audiolm(CONFIG))


@pytest.fixture(scope="module")
def continued(model):
    """(request, its tokens after each piece) of two clips that go on by 2 s."""
    request = check_request(
        CONFIG,
        "continuation",
        model._recordings(wave(), None, last=CONFIG.sequences.prompt),
        seconds=2.0,
        candidates=2,
        temperature=1.0,
    )
    return request, list(model.pieces(request, progress=False))


def test_the_prompts_tokens_stand_unchanged(model, continued):
    request, pieces = continued
    (recording,) = request.recordings
    prompt = model.tokenization.encode([recording]).codes
    assert prompt.shape == (1, 24, 3) and recording.cut == pytest.approx(0.52)
    for tokens in pieces:
        np.testing.assert_array_equal(tokens.codes[:, :24], prompt.repeat(2, 0))


def test_a_long_clip_is_made_of_pieces(model, continued):
    """Of 1.6 s, each of which begins with the 0.48 s before it."""
    _, (first, whole) = continued
    assert first.codes.shape == (2, 80, 3) and whole.codes.shape == (2, 124, 3)
    np.testing.assert_array_equal(whole.codes[:, :80], first.codes)
    low, high = whole.codes.min((0, 1)), whole.codes.max((0, 1))
    assert (low >= 0).all() and (high < 16).all() and (high > low).all()
    assert (whole.codes[0] != whole.codes[1]).any()


def test_clips_are_decoded_together_with_their_prompt(model, continued):
    request, (first, whole) = continued
    out = model.output(request, whole)
    assert out.candidates.shape == (1, 2, round(2.48 * RATE)) and out.sample_rate == RATE
    decoded = model.tokenization.codec.decode(whole.codes[:1])
    np.testing.assert_allclose(out.audio, decoded[:, : out.audio.shape[1]], atol=1e-6)
    assert out.metadata["prompt_seconds"] == pytest.approx(0.48)
    # What is there after the first piece is a shorter clip.
    assert model.output(request, first).audio.shape == (1, 80 * HOP)
    assert model.output(request, first).metadata["seconds"] == pytest.approx(1.6)


def test_a_clip_is_its_own(model, continued):
    request, pieces = continued
    alone = dataclasses.replace(request, candidates=1, first_clip=1)
    *_, tokens = model.pieces(alone, progress=False)
    np.testing.assert_array_equal(tokens.codes[0], pieces[-1].codes[1])


def test_known_semantic_tokens_keep_their_time(model):
    """Acoustic generation, in two pieces; the model's windows are whole."""
    windows = []
    rows = model.tokenization.rows

    def spy(ids):
        windows.append(ids)
        return rows(ids)

    model.tokenization.rows = spy
    try:
        out = model.acoustic_generation(wave(2.72), temperature=0.0, progress=False)
    finally:
        model.tokenization.rows = rows
    assert (
        out.audio.shape == (1, round(2.72 * RATE)) and out.metadata["mode"] == "acoustic generation"
    )
    first, second = windows
    assert first.shape == (1, 40) and second.shape == (1, 40)
    # The second piece begins 0.48 s, 12 tokens, before the first one's end.
    np.testing.assert_array_equal(second[:, :12], first[:, -12:])


def test_repeats_may_stay(model):
    aligned = AudioLM(
        dataclasses.replace(random_audiolm(CONFIG), config=changed(remove_repeats=False))
    )
    ids = np.array([[3, 3, 4, 4, 4, 3], [1, 1, 1, 1, 1, 1]])
    assert [list(row) for row in model.tokenization.rows(ids)] == [[3, 4, 3], [1]]
    assert [list(row) for row in aligned.tokenization.rows(ids)] == [list(row) for row in ids]
    # As many tokens as time has; without repeats, as many as in the prompt.
    assert aligned.tokenization.semantic_count(ids[0], 6, 10) == 10
    assert model.tokenization.semantic_count(ids[0][:3], 6, 10) == 5
    assert model.tokenization.semantic_count(ids[0][:0], 0, 10) == 10
    (first, whole) = aligned.pieces(
        check_request(changed(remove_repeats=False), "generation", (), seconds=2.72)
    )
    assert [len(row) for row in first.semantic] == [40] and whole.codes.shape == (1, 136, 3)
    assert len(whole.semantic[0]) == 12 + 28
    np.testing.assert_array_equal(whole.semantic[0][:12], first.semantic[0][-12:])


def test_resynthesis_is_the_codecs(model):
    out = model.resynthesize(wave(0.45), levels=2)
    codes = model.tokenization.codec.encode(wave(0.45)[None], 2)
    assert codes.shape[-1] == 2 and out.audio.shape == (1, 7200)
    np.testing.assert_allclose(
        out.audio, model.tokenization.codec.decode(codes)[:, :7200], atol=1e-6
    )
    with pytest.raises(InputError, match="levels is 4: it must be an integer from 1 to 3"):
        model.resynthesize(wave(), levels=4)


def test_likelihoods_are_of_tokens(model, monkeypatch):
    recording = model._recordings(wave(0.48), None)
    (row,) = model.tokenization.rows(model.tokenization.semantic_ids(recording))
    total = model.log_likelihood(wave(0.48), normalized=False)
    assert total.shape == (1,) and total[0] < 0
    np.testing.assert_allclose(model.log_likelihood(wave(0.48)) * len(row), total, rtol=1e-5)
    monkeypatch.setattr(model.tokenization, "rows", lambda ids: [np.zeros(64, int)])
    with pytest.raises(InputError, match="wave: 64 semantic tokens, .* takes at most 63"):
        model.log_likelihood(wave(0.48))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seconds": 0}, "seconds is 0"),
        ({"seconds": "x"}, "seconds is 'x'"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"candidates": 0}, "candidates is 0"),
        ({"temperature": (0.5, 0.5)}, "temperature has 2 values"),
        ({"temperature": -1}, "temperature is -1"),
        ({"top_p": 0}, "top_p is 0"),
        ({"top_k": -1}, "top_k is -1"),
        ({"seed": -2}, "seed is -2"),
        ({"wave": wave(0.02)}, "wave: 20 ms long; one frame of the model is 40 ms"),
        ({"wave": [wave(0.2), wave(0.4)]}, "recordings of 0.2 and of 0.4 s"),
        ({"wave": []}, "no recordings in the list"),
        ({"wave": np.zeros(16000)}, "silence"),
    ],
)
def test_values_that_cannot_be_used_are_one_line(model, arguments, message):
    with pytest.raises(InputError, match=message):
        model.continuation(**{"wave": wave(), "seconds": 1.0, "progress": False} | arguments)


def test_a_request_beyond_memory_is_refused(model, monkeypatch):
    monkeypatch.setattr("audioldm2_jax.pipelines.runner.available_memory", lambda *_: 1e5)
    with pytest.raises(InputError, match="3 clips of 1.48 s: .* are free"):
        model.continuation(wave(), seconds=1, candidates=3, progress=False)


def replaced(part, **changes):
    return dataclasses.replace(
        CONFIG, **{part: dataclasses.replace(getattr(CONFIG, part), **changes)}
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            replaced("kmeans", width=17),
            "kmeans/config.json: width is 17, but semantic_encoder has 16",
        ),
        (replaced("kmeans", layer=2), "kmeans/config.json: layer is 2; .* 0 to 1"),
        (replaced("dac", sample_rate=8000), "sample_rate of training is 16000, but codec has 8000"),
        (
            replaced("semantic_lm", semantic=9),
            "semantic_lm/config.json: semantic is 9, but kmeans has 24",
        ),
        (replaced("coarse_lm", semantic=9), "coarse_lm/config.json: semantic is 9"),
        (
            replaced("coarse_lm", codebook=8),
            "coarse_lm/config.json: codebook is 8, but codec has 16",
        ),
        (replaced("fine_lm", codebook=8), "fine_lm/config.json: codebook is 8"),
        (replaced("fine_lm", given=1), "fine_lm/config.json: given is 1, but coarse_lm has 2"),
        (replaced("fine_lm", levels=4), "fine_lm/config.json: levels is 4, but codec has 3"),
        (replaced("semantic_lm", stage="fine"), "semantic_lm/config.json: stage is fine"),
        (replaced("coarse_lm", max_tokens=201), "max_tokens is 201, but .* up to 202 tokens"),
        (replaced("kmeans", frame_rate=50), "semantic_rate of training is 25, but kmeans has 50"),
        (changed(sample_rate=24000), "sample_rate of training is 24000, but codec has 16000"),
        (changed(frame_rate=75.0), "frame_rate of training is 75, but codec has 50"),
        (changed(prompt=1.6), "prompt_seconds is 1.6"),
        (changed(prompt=0.01), "prompt_seconds is 0.01"),
    ],
)
def test_parts_that_do_not_fit_are_named(config, message):
    with pytest.raises(InputError, match=message):
        check_parts(config)


def test_top_k_of_0_lifts_the_models_own_limit():
    config = changed(top_k=20)
    assert check_request(config, "generation", (), seconds=1).sampling.top_k == 20
    assert check_request(config, "generation", (), seconds=1, top_k=0).sampling.top_k is None


def test_the_clock_holds_whole_tokens():
    clock = Clock.of(CONFIG)
    assert (float(clock.period), clock.frames, clock.tokens) == (0.04, 2, 1)
    assert (clock.whole(0.48), clock.whole(0.4799), clock.covering(0.41)) == (12, 11, 11)


def test_a_checkpoint_is_read_as_it_was_written(tmp_path):
    config = changed(remove_repeats=False, unique_rate=18.5, top_k=20, temperature=(1, 0.5, 0))
    hub.save(random_audiolm(config), tmp_path / "model")
    loaded = hub.load(tmp_path / "model")
    assert loaded.config == config
    assert (tmp_path / "model" / "codec" / "model.safetensors").is_file()
    path = tmp_path / "model" / "generation_config.json"
    written = json.loads(path.read_text())
    for entry, value, message in (
        ("temperature", [1, 2], "temperature is .*a list of 3"),
        ("prompt_seconds", 9, "prompt_seconds is 9"),
        ("remove_repeats", 1, "remove_repeats is 1; true or false"),
        ("top_p", 2, "top_p is 2"),
    ):
        path.write_text(json.dumps(written | {entry: value}))
        with pytest.raises(InputError, match=message):
            hub.load(tmp_path / "model")


def test_codecs_and_encoders_are_alternatives(tmp_path):
    """A checkpoint with SoundStream and w2v-BERT, where the coarse stage predicts all levels."""
    codec = SoundStreamConfig(filters=2, width=8, levels=2, codebook=16)
    encoder = W2VBERTConfig(width=16, depth=1, heads=2, hidden=16, kernel=3, left=2, right=1)
    config = dataclasses.replace(
        CONFIG, dac=None, soundstream=codec, hubert=None, w2v_bert=encoder, fine_lm=None
    )
    hub.save(random_audiolm(check_parts(config)), tmp_path / "model")
    assert hub.load(tmp_path / "model").config == config
    assert not (tmp_path / "model" / "fine_lm").exists()
    index = tmp_path / "model" / "model_index.json"
    index.write_text(index.read_text().replace('"SoundStream"', '"Vocos"'))
    with pytest.raises(
        InputError, match="codec is of class 'Vocos'; known: SoundStream or Encodec"
    ):
        hub.load(tmp_path / "model")
