"""The embedded model's stages: their order, what training must not see, their curves."""

import json

from audioldm2_jax.recipes.nano import build, curves
from audioldm2_jax.training.configuration import read_config


def test_curves_of_a_run_that_went_on(tmp_path):
    """The last line of a step counts."""
    lines = ['{"step": 1, "loss": 3}', '{"step": 2, "loss": 2}', '{"step": 2, "loss": 1.5}']
    lines.append('{"step": 2, "valid/loss": 4}')
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    curves.write_csv(tmp_path, tmp_path / "run.csv")
    rows = curves.read_csv(tmp_path / "run.csv")
    assert rows == {"loss": [(1, 3.0), (2, 1.5)], "valid/loss": [(2, 4.0)]}


def test_every_stage_begins_with_a_stage_before_it():
    met = {"", "start", "speech-start"}
    for name, stage in build.STAGES.items():
        assert stage.before in met, name
        config = read_config(f"{build.ROOT}/configs/nano/{stage.config}", [])
        assert config.base_checkpoint.rpartition("/")[2] in met, name
        met.add(name)
    assert set(build.STAGES) == set(curves.SHOWN)


def test_what_is_held_out(tmp_path):
    captions = [f"{word} barks" for word in "abcdefghijklmnopqrstuvwxyz"]
    lines = [
        {"caption_1": c, "caption_2": f"The sound of {c}.", "transcript": ""} for c in captions
    ]
    lines += [{"caption_1": "a man speaks", "caption_2": "x", "transcript": c} for c in captions]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    build.rewrite_clips(tmp_path, build.training_captions)
    training_lines = list(map(json.loads, (tmp_path / "metadata.jsonl").read_text().splitlines()))
    out = [c for c in captions if build.is_held_out_caption(c)]
    assert 0 < len(out) < len(captions) / 3
    assert all(build.is_held_out_caption(f"The sound of {c}, in a large hall.") for c in out)
    assert len(training_lines) == 2 * (len(captions) - len(out))
    assert not any(
        build.is_held_out_caption(x["transcript"] or x["caption_1"]) for x in training_lines
    )
