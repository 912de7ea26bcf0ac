"""UrbanSound8K out of its compressed tar."""

from audioldm2_jax.corpora import archives

HEADER = "slice_file_name,fsID,start,end,salience,fold,classID,class\n"


def test_from_the_tar(manual, built):
    files, lines = {}, ""
    for i in range(6):
        name = f"{100 + i}-3-0-{i}.wav"
        lines += f"{name},{100 + i},0.0,0.5,{i % 2 + 1},{i // 3 + 1},3,dog_bark\n"
        rate, channels = (44100, 2) if i % 2 else (8000, 1)
        files[f"UrbanSound8K/audio/fold{i // 3 + 1}/{name}"] = archives.sound(
            i, rate=rate, channels=channels
        )
    files["UrbanSound8K/audio/fold2/103-3-0-3.wav"] = b"RIFF"
    files["UrbanSound8K/metadata/UrbanSound8K.csv"] = (HEADER + lines).encode()
    archives.write_tar(manual / "UrbanSound8K.tar.gz", files, "w:gz")
    corpus = built("data/urbansound8k")
    assert {s: len(c) for s, c in corpus.splits.items()} == {"fold1": 3, "fold2": 2}
    assert corpus.skipped == {"103-3-0-3.wav": "no audio that libsndfile reads"}
    clip = corpus.splits["fold1"]["101-3-0-1.wav"]
    assert clip["labels"] == ["dog bark"] and clip["sample_rate"] == 44100
    assert '"foreground": false' in clip["extra"]


def test_a_damaged_archive_is_named(manual, built):
    good = {"UrbanSound8K/audio/fold1/a.wav": archives.sound(1)}
    table = HEADER + "a.wav,1,0.0,0.5,1,1,3,siren\nb.wav,1,0.0,0.5,1,1,3,siren\n"
    archives.write(manual, {"metadata/UrbanSound8K.csv": table.encode()})
    archives.write(manual, {"fold1/b.wav": archives.sound(2)})
    archives.write_tar(manual / "UrbanSound8K.tar.gz", good, "w:gz")
    whole = (manual / "UrbanSound8K.tar.gz").read_bytes()
    (manual / "UrbanSound8K.tar.gz").write_bytes(whole[: len(whole) // 2])
    corpus = built("data/urbansound8k")
    assert list(corpus.splits["fold1"]) == ["b.wav"]
    assert corpus.skipped["a.wav"] == "missing"
    assert corpus.skipped["UrbanSound8K.tar.gz"].startswith("damaged archive")
