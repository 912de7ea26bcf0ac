"""The embedded model's finished stages fit its preset, and those after them start from them."""

import dataclasses
import json

import numpy as np

from audioldm2_jax import tree
from audioldm2_jax.checkpoints import hub
from audioldm2_jax.checkpoints.random import write_random
from configs.nano import build, curves, finished

# The folder of a part that a stage gives, and the part's name.
NAMES = {
    "text_encoder": "clap",
    "text_encoder_2": "t5",
    "language_model": "gpt2",
    "projection_model": "projection",
    **{name: name for name in ("audiomae", "vae", "vocoder", "unet")},
}


def test_finished_parts_go_into_a_start(tmp_path):
    before = tmp_path / "start"
    write_random(before, "nano")
    fresh = hub.load(before)
    sound = list(build.STAGES)[1 : list(build.STAGES).index("joint") + 1]
    done = [stage for stage in sound if finished.is_finished(stage)]
    assert done, "the repository holds finished stages"
    for stage in done:
        finished.put(stage, before, tmp_path / stage)
        before = tmp_path / stage
    model = hub.load(before)
    folders = [folder for stage in done for folder in finished.PARTS[stage]]
    changed = {NAMES[folder] for folder in folders if folder in NAMES}
    for name in model.params:
        pairs = zip(*(tree.flatten(x.params[name]).values() for x in (model, fresh)))
        same = all(np.array_equal(a, b) for a, b in pairs)
        assert same == (name not in changed), name
        config = getattr(model.config, name)
        if name == "vae":  # pre-training finds the scale of its latents
            config = dataclasses.replace(config, scale=fresh.config.vae.scale)
        assert config == getattr(fresh.config, name)


def test_curves_of_a_run_that_went_on(tmp_path):
    """Steps that are told twice count as told last."""
    lines = ['{"step": 1, "loss": 3}', '{"step": 2, "loss": 2}', '{"step": 2, "loss": 1.5}']
    lines.append('{"step": 2, "valid/loss": 4}')
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    curves.write_csv(tmp_path, tmp_path / "run.csv")
    found = curves.read_csv(tmp_path / "run.csv")
    assert found == {"loss": [(1, 3.0), (2, 1.5)], "valid/loss": [(2, 4.0)]}


def test_every_stage_begins_with_a_stage_before_it():
    met = {"", "start", "speech-start"}
    for name, stage in build.STAGES.items():
        assert stage.before in met, name
        met.add(name)
    assert set(finished.PARTS) == set(build.STAGES) == set(curves.SHOWN)


def test_what_is_held_out(tmp_path):
    captions = [f"{word} barks" for word in "abcdefghijklmnopqrstuvwxyz"]
    lines = [
        {"caption_1": c, "caption_2": f"The sound of {c}.", "transcript": ""} for c in captions
    ]
    lines += [{"caption_1": "a man speaks", "caption_2": "x", "transcript": c} for c in captions]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    build.rewrite(tmp_path, build.trained)
    kept = list(map(json.loads, (tmp_path / "metadata.jsonl").read_text().splitlines()))
    out = [c for c in captions if build.held_out(c)]
    assert 0 < len(out) < len(captions) / 3
    assert all(build.held_out(f"The sound of {c}, in a large hall.") for c in out)
    assert len(kept) == 2 * (len(captions) - len(out))
    assert not any(build.held_out(x["transcript"] or x["caption_1"]) for x in kept)
