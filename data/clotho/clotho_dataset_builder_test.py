"""Clotho out of its 7z archives, with metadata that is not UTF-8."""

import json

from audioldm2_jax.corpora import archives

HEADER = "file_name," + ",".join(f"caption_{i}" for i in range(1, 6)) + "\n"
FACTS = "file_name,keywords,sound_id,sound_link,start_end_samples,manufacturer,license\n"


def test_from_the_archives(manual, built):
    for split, name in (("development", "Café bell.wav"), ("evaluation", "rain.wav")):
        captions = ",".join(f'"caption {i}, of {split}"' for i in range(5))
        table = HEADER + f"{name},{captions}\n" + ("gone.wav,a,b,c,d,e\n" if "dev" in split else "")
        archives.write(manual, {f"clotho_captions_{split}.csv": table.encode()})
        files = {f"{split}/{name}": archives.sound(len(name), rate=44100)}
        archives.write_7z(manual / f"clotho_audio_{split}.7z", files)
    facts = FACTS + "Café bell.wav,bell;church bell;caf\xe9,17,http://x,[0;10],me,CC0\n"
    archives.write(manual, {"clotho_metadata_development.csv": facts.encode("latin-1")})
    corpus = built("data/clotho")
    clip = corpus.splits["development"]["Café bell.wav"]
    assert clip["captions"] == [f"caption {i}, of development" for i in range(5)]
    assert clip["labels"] == ["bell", "church bell", "café"]
    assert json.loads(clip["extra"]) == {"sound_id": "17", "license": "CC0"}
    assert len(corpus.splits["evaluation"]["rain.wav"]["captions"]) == 5
    assert corpus.skipped == {
        "gone.wav": "missing",
        "clotho_captions_validation.csv": "metadata not there",
    }
