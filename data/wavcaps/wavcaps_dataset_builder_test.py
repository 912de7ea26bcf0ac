"""WavCaps: split zips as they are, the same number in two sources, lists of banned clips."""

import json

import pytest

from audioldm2_jax.corpora import archives
from audioldm2_jax.errors import InputError


def listing(*clips):
    return json.dumps({"num_captions_per_audio": 1, "data": list(clips)}).encode()


def write(manual):
    freesound = [{"id": "61", "file_name": "a.wav", "caption": "A dog, barking.", "duration": 1.0}]
    freesound += [{"id": "77", "caption": "Gone."}]
    archives.write(
        manual,
        {
            "json_files/FreeSound/fsd_final.json": listing(*freesound),
            "json_files/SoundBible/sb_final.json": listing(
                {"id": "61", "title": "Bell", "caption": "A bell rings."}
            ),
            "json_files/AudioSet_SL/as_final.json": listing(
                {"id": "Yb0RFKhbpFJA.wav", "caption": "Wind."},
                {"id": "Y-a_bcdefghi.wav", "caption": "Sea."},
            ),
            "json_files/blacklist.txt": b"",
            "blacklist/blacklist_exclude_all_ac.json": json.dumps(
                {"FreeSound": [], "AudioSet": ["b0RFKhbpFJA"]}
            ).encode(),
        },
    )
    flac = {i: archives.sound(i, rate=32000, kind="FLAC") for i in range(4)}
    zips = manual / "Zip_files"
    (zips / "FreeSound").mkdir(parents=True)
    archives.write_split(
        zips / "FreeSound" / "FreeSound.zip", {"mnt/x/FreeSound_flac/61.flac": flac[0]}, 3
    )
    archives.write_zip(
        zips / "SoundBible" / "SoundBible.zip", {"mnt/x/SoundBible_flac/61.flac": flac[1]}
    )
    audioset = {
        f"mnt/x/AudioSet_SL_flac/{n}.flac": flac[2] for n in ("Yb0RFKhbpFJA", "Y-a_bcdefghi")
    }
    archives.write_zip(zips / "AudioSet_SL" / "AudioSet_SL.zip", audioset)
    return flac


def test_everything(manual, built):
    flac = write(manual)
    corpus = built("data/wavcaps:full")
    assert corpus.splits["freesound"]["FreeSound/61"]["audio"] == flac[0]
    assert corpus.splits["soundbible"]["SoundBible/61"]["audio"] == flac[1]
    assert corpus.splits["soundbible"]["SoundBible/61"]["captions"] == ["A bell rings."]
    assert len(corpus.splits["audioset_sl"]) == 2
    assert corpus.skipped == {
        "FreeSound/77": "missing",
        "json_files/BBC_Sound_Effects": "metadata not there",
    }


def test_without_evaluation(manual, built):
    write(manual)
    corpus = built("data/wavcaps:without_evaluation")
    assert list(corpus.splits["audioset_sl"]) == ["AudioSet_SL/Y-a_bcdefghi.wav"]
    assert corpus.skipped["AudioSet_SL/Yb0RFKhbpFJA.wav"] == "named by a blacklist"


def test_the_lists_are_needed(manual, built):
    write(manual)
    (manual / "blacklist" / "blacklist_exclude_all_ac.json").unlink()
    with pytest.raises(InputError, match="needs the lists"):
        built("data/wavcaps:without_evaluation")
