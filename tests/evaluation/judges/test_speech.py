"""Opinion scores, words and voices of espeak-ng's speech."""

import jax
import librosa
import numpy as np
import pytest
import torch

from audioldm2_jax.audio import resample
from audioldm2_jax.checkpoints import speaker_encoder
from audioldm2_jax.checkpoints.convert import to_params
from audioldm2_jax.data.soundscapes import voices as speakers
from audioldm2_jax.data.soundscapes.voices import Voice, speak
from audioldm2_jax.evaluation.judges import dnsmos, voices, words
from audioldm2_jax.evaluation.judges.base import Sound
from audioldm2_jax.evaluation.judges.mel import power_mel
from audioldm2_jax.evaluation.metrics.speech import character_error_rate, word_error_rate
from audioldm2_jax.models.speaker_encoder import SpeakerEncoder

RATE = speakers.dsp.RATE
WOMAN, MAN = Voice("woman", "f2", 150, 45, 50), Voice("man", "m3", 150, 45, 50)
TEXTS = (
    "Her brother sold two bicycles near the river. The morning is cold.",
    "Our teacher opened the window. We went home without a word.",
)


@pytest.fixture(scope="module")
def speech():
    """{(voice's name, text's number): [samples]}."""
    return {(v.name, i): speak(text, v) for v in (WOMAN, MAN) for i, text in enumerate(TEXTS)}


def noisy(wave, decibels, seed=0):
    """`wave` with white noise, at a ratio of signal to noise."""
    noise = np.random.default_rng(seed).standard_normal(len(wave)).astype(np.float32)
    return wave + noise * np.sqrt(np.mean(wave**2)) * np.float32(10 ** (-decibels / 20))


@pytest.mark.parametrize("fft,hop,mels", [(321, 160, 120), (400, 160, 40)])
def test_mel_is_librosas(fft, hop, mels):
    wave = np.random.default_rng(0).standard_normal(5000).astype(np.float32)
    expected = librosa.feature.melspectrogram(
        y=wave, sr=16000, n_fft=fft, hop_length=hop, n_mels=mels
    ).T
    np.testing.assert_allclose(power_mel(wave, 16000, fft, hop, mels), expected, rtol=2e-4)


def test_opinions_fall_with_noise(speech):
    clean = np.resize(speech["f2", 0], 5 * RATE)  # one window
    scores = dnsmos.scores([clean, noisy(clean, 20), noisy(clean, 0)], RATE)
    for key in ("BAK", "OVRL", "P808"):
        assert (np.diff(scores[key]) < -0.2).all(), key
    assert scores["OVRL"][0] > 2.5
    assert all(s.min() >= 1 and s.max() <= 5 for s in scores.values())


def test_opinions_are_those_of_speechmos(speech):
    """Where the peer keeps all windows, which it does for two of them."""
    from speechmos import dnsmos as peer

    clip = np.clip(np.resize(speech["f2", 0], 11 * 16000), -1, 1)
    expected = peer.run(clip, 16000)
    ours = dnsmos.scores([clip], RATE)
    for key in dnsmos.KEYS:
        assert ours[key][0] == pytest.approx(float(expected[f"{key.lower()}_mos"]), abs=1e-4), key


def test_the_judge_runs_the_network_of_its_metrics_alone(speech, monkeypatch):
    clip, networks, run = speech["f2", 0], [], dnsmos._run
    expected = dnsmos.scores([clip], RATE)
    monkeypatch.setattr(dnsmos, "_run", lambda file, x: networks.append(file) or run(file, x))
    scores = dnsmos.JUDGE.run([("clip", clip, RATE, None)])
    assert set(networks) == {"dnsmos_models/sig_bak_ovr.onnx"}
    for key in ("SIG", "BAK", "OVRL"):
        assert scores[f"DNSMOS_{key}"].values == expected[key], key


def test_windows_of_opinions_are_a_second_apart():
    """A short clip is doubled until it is long enough; long clips keep every window."""
    wave = np.random.default_rng(0).uniform(-1, 1, 20 * 16000).astype(np.float32)
    for seconds, count in ((5, 1), (9, 9), (10, 1), (12, 3), (20, 11)):
        cuts = dnsmos.windows(wave[: seconds * 16000])
        assert cuts.shape == (count, dnsmos.WINDOW), seconds
    np.testing.assert_array_equal(cuts[7], wave[7 * 16000 :][: dnsmos.WINDOW])


def test_words_are_recognised(speech):
    """PocketSphinx was not trained on synthetic speech: half of the words is a good rate."""
    texts = words.transcripts([speech["m3", 0] * 0.05, *(speech["f2", i] for i in (0, 1))], RATE)
    rate = word_error_rate(TEXTS, texts[1:])
    assert rate < 0.6
    assert word_error_rate(TEXTS[::-1], texts[1:]) > max(0.85, rate + 0.2)
    # A clip alone gets the words that it got after others.
    clip = ("x", speech["f2", 1], RATE, type("Clip", (), {"transcript": TEXTS[1]}))
    scores = words.JUDGE.run([clip])
    assert scores["WER"].mean() == word_error_rate(TEXTS[1:], texts[2:])
    assert scores["CER"].mean() == character_error_rate(TEXTS[1:], texts[2:])
    assert scores["WER"].weights == 11


def test_no_words_in_silence_and_no_rate_without_a_transcript(speech):
    assert words.transcripts([np.zeros(8000), speech["f2", 0][:200]], RATE) == ["", ""]
    scores = words.JUDGE.run([("x", speech["f2", 0][:200], RATE, None)])
    assert scores["WER"].judged.size == scores["CER"].judged.size == 0


def test_same_voice_is_more_similar_than_another(speech):
    texts = [voices.embeddings([speech[name, i] for name in ("f2", "m3")], RATE) for i in range(2)]
    similarity = texts[0] @ texts[1].T
    assert similarity.diagonal().min() > 0.8 > similarity[~np.eye(2, dtype=bool)].max()
    pairs = voices.speaker_similarity(texts[0], texts[1])
    np.testing.assert_allclose(pairs, similarity.diagonal(), rtol=1e-6)
    # A rate, pauses and, almost, a volume are not the voice's.
    woman = speech["f2", 0]
    assert voices.embeddings([resample(woman, RATE, 44100)], 44100) @ texts[0][0] > 0.999
    paused = np.concatenate([woman, np.zeros(RATE, np.float32), woman])
    assert (voices.embeddings([paused, 0.1 * woman], RATE) @ texts[0][0] > 0.9).all()


def test_without_voice_there_is_no_embedding(speech):
    nothing = voices.embeddings([np.zeros(RATE), np.zeros(100), np.zeros(0)], RATE)
    assert np.isnan(nothing).all()
    woman = voices.embeddings([speech["f2", 0]], RATE)
    assert voices.speaker_similarity(woman, nothing[:1]) == [0]
    assert np.isnan(voices.speaker_similarity(nothing[:1], woman)).all()


def test_published_voice_encoder_is_torchs_lstm(speech):
    """The wheel's weights in our network and in torch's own LSTM."""
    file = torch.load(voices.WHEEL.path("pretrained.pt"), map_location="cpu", weights_only=True)
    state = file["model_state"]
    lstm = torch.nn.LSTM(40, 256, 3, batch_first=True)
    lstm.load_state_dict({k[5:]: v for k, v in state.items() if k.startswith("lstm.")})
    mel = voices._windows(Sound(speech["m3", 0], RATE).at(16000))[:3]
    with torch.no_grad():
        _, (hidden, _) = lstm(torch.from_numpy(mel))
        hidden = torch.relu(hidden[-1] @ state["linear.weight"].T + state["linear.bias"])
        expected = torch.nn.functional.normalize(hidden, dim=1)
    params = speaker_encoder.load(voices.WHEEL.path("pretrained.pt"))
    ours = jax.jit(SpeakerEncoder().apply)({"params": params}, mel)
    np.testing.assert_allclose(ours, expected, atol=2e-6)


def test_voice_encoder_of_random_weights_is_torchs_lstm():
    torch.manual_seed(0)
    lstm, linear = torch.nn.LSTM(5, 7, 2, batch_first=True), torch.nn.Linear(7, 6)
    state = {f"lstm.{k}": v.numpy() for k, v in lstm.state_dict().items()}
    state |= {f"linear.{k}": v.numpy() for k, v in linear.state_dict().items()}
    state["similarity_weight"] = np.ones(1, np.float32)
    network = SpeakerEncoder(width=7, layers=2, embedding=6)
    mel = np.random.default_rng(0).standard_normal((3, 9, 5)).astype(np.float32)
    like = jax.eval_shape(network.init, jax.random.key(0), mel)["params"]
    params = to_params(state, speaker_encoder.TABLE, like)
    with torch.no_grad():
        _, (hidden, _) = lstm(torch.from_numpy(mel))
        expected = torch.nn.functional.normalize(torch.relu(linear(hidden[-1])), dim=1)
    np.testing.assert_allclose(network.apply({"params": params}, mel), expected, atol=1e-6)
