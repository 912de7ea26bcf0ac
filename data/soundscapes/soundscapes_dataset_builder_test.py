"""The synthetic corpus, from what its command writes."""

import json

from audioldm2_jax.data.soundscapes import build


def test_from_the_command(manual, built):
    manual.rmdir()
    build.build(manual, 51, seed=1, seconds=0.5, workers=1)
    corpus = built("data/soundscapes")
    assert {s: len(c) for s, c in corpus.splits.items()} == {"train": 50, "validation": 1}
    lines = [json.loads(line) for line in (manual / "metadata.jsonl").read_text().splitlines()]
    clip = corpus.splits["validation"]["audio/0000049.flac"]
    assert clip["captions"] == [lines[49]["caption_1"], lines[49]["caption_2"]]
    assert clip["labels"] == lines[49]["labels"] and not corpus.skipped
    assert json.loads(clip["extra"])["events"] == lines[49]["events"]
