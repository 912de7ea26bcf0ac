"""GigaSpeech: segments cut out of Opus recordings; marks become punctuation."""

import json

import numpy as np
import soundfile

from audioldm2_jax.corpora import archives


def test_segments(manual, built, tmp_path):
    def segment(sid, start, stop, text, *subsets):
        facts = {"sid": sid, "speaker": "N/A", "begin_time": start, "end_time": stop}
        return facts | {"text_tn": text, "subsets": [f"{{{s}}}" for s in subsets]}

    first = [
        segment("POD1_S0", 0.5, 1.25, "AS IT'S CALLED <COMMA> HELLO <PERIOD>", "XL", "L", "XS"),
        segment("POD1_S1", 1.25, 2.0, "<MUSIC>", "XL", "XS"),
        segment("POD1_S2", 2.0, 2.5, "ONLY LARGE", "XL", "L"),
        segment("POD1_S3", 9.0, 9.5, "BEYOND THE END", "XS"),
    ]
    second = [segment("YOU1_S0", 0.0, 1.0, "A TEST <QUESTIONMARK>", "TEST")]
    audios = [
        {
            "path": "audio/podcast/P0000/POD1.opus",
            "aid": "POD1",
            "source": "podcast",
            "segments": first,
        },
        {"path": "audio/youtube/P0000/YOU1.opus", "aid": "YOU1", "segments": second},
    ]
    listing = json.dumps({"dataset": "GigaSpeech", "audios": audios})
    wave = np.sin(np.arange(48000) / 16000 * 2 * np.pi * np.linspace(200, 2000, 48000))
    soundfile.write(tmp_path / "a.ogg", wave * 0.5, 16000, format="OGG", subtype="OPUS")
    archives.write(
        manual,
        {
            "GigaSpeech.json": listing.encode(),
            "audio/podcast/P0000/POD1.opus": (tmp_path / "a.ogg").read_bytes(),
        },
    )
    corpus = built("data/gigaspeech:xs")
    (clip,) = corpus.splits["train"].values()
    assert clip["id"] == "POD1_S0" and clip["transcript"] == "AS IT'S CALLED, HELLO."
    assert clip["seconds"] == 0.75
    (tmp_path / "piece.flac").write_bytes(clip["audio"])
    piece, rate = soundfile.read(tmp_path / "piece.flac")
    whole, _ = soundfile.read(tmp_path / "a.ogg")
    np.testing.assert_allclose(piece, whole[rate // 2 : rate // 2 + len(piece)], atol=1e-3)
    assert corpus.skipped == {
        "POD1_S1": "no speech (<MUSIC>)",
        "POD1_S3": "broken: shorter than its segments",
        "YOU1_S0": "missing",
    }
