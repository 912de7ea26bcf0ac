"""Clips generated for an evaluation: the manifest, resumption, refusals.

The network is a stand-in; `tests/cli/test_evaluate.py` runs a real one.
"""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from audioldm2_jax.errors import InputError, NumericalError
from audioldm2_jax.evaluation import generated
from audioldm2_jax.evaluation.generated import (
    ClipPrompt,
    GenerationSettings,
    generate_clips,
    manifest_path,
    plan_generation,
)
from audioldm2_jax.evaluation.protocol import PROTOCOLS
from audioldm2_jax.pipelines.loading import open_checkpoint

PROMPTS = [ClipPrompt("a.wav", "a dog barks"), ClipPrompt("sub/b.flac", "rain")]
SETTINGS = GenerationSettings(seconds=0.5, steps=1)


class Tones:
    """A pipeline whose clips follow from prompt and number, as those of networks do."""

    @classmethod
    def from_opened(cls, opened):
        return cls()

    def run(self, request, *, clap_features, progress):
        assert clap_features is None
        clips = [
            0.5 * np.sin(np.arange(8000) * len(c.prompt) * (1 + c.clip)) for c in request.clips
        ]
        return SimpleNamespace(audio=np.array(clips, np.float32), sample_rate=16000)


@pytest.fixture(autouse=True)
def tones(monkeypatch):
    monkeypatch.setattr(generated, "Pipeline", Tones)


@pytest.fixture(scope="module")
def opened():
    return open_checkpoint("nano", progress=False)


@pytest.fixture
def folder(opened, tmp_path):
    """Both clips, generated at once."""
    folder = tmp_path / "whole"
    generate_clips(plan_generation(opened, PROMPTS, folder, SETTINGS), progress=False)
    return folder


def waves(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.wav")}


def test_clips_and_manifest(folder):
    assert sorted(waves(folder)) == ["a.wav", "sub/b.wav"]
    record = json.loads(manifest_path(folder).read_text())
    assert record["clips"]["sub/b.wav"] == {"prompt": "rain", "transcript": "", "clip": 1}
    assert record["steps"] == 1 and len(record["weights"]) == 64 and record["failed"] == []
    assert record["samples"] == soundfile.info(folder / "a.wav").frames > 1000
    assert np.abs(soundfile.read(folder / "a.wav")[0]).max() > 0.001


def test_a_stopped_run_goes_on_with_the_missing_clip_alone(opened, folder, tmp_path, monkeypatch):
    """One clip is there, one is cut off as by a full disk: the result is that of one run."""
    ours = tmp_path / "ours"
    (ours / "sub").mkdir(parents=True)
    (ours / "a.wav").write_bytes((folder / "a.wav").read_bytes())
    (ours / "sub" / "b.wav").write_bytes((folder / "sub" / "b.wav").read_bytes()[:900])
    manifest_path(ours).write_text(manifest_path(folder).read_text())
    numbers = []
    real = generated._generate
    monkeypatch.setattr(
        generated, "_generate", lambda *given: numbers.extend(given[2]) or real(*given)
    )
    record = generate_clips(plan_generation(opened, PROMPTS, ours, SETTINGS), progress=False)
    assert numbers == [1] and record == json.loads(manifest_path(ours).read_text())
    rate = record["sample_rate"]
    assert waves(ours) == waves(folder) and rate == 16000
    numbers.clear()
    assert generate_clips(plan_generation(opened, PROMPTS, ours, SETTINGS), progress=False)
    assert numbers == []


def test_other_settings_are_refused_and_longer_lists_are_not(opened, folder):
    def plan(prompts=PROMPTS, **changes):
        settings = {"seconds": 0.5, "steps": 1} | changes
        return plan_generation(opened, prompts, folder, GenerationSettings(**settings))

    with pytest.raises(InputError, match="generated with steps 1, not 2"):
        plan(steps=2)
    with pytest.raises(InputError, match="generated with seed 0, not 7"):
        plan(seed=7)
    with pytest.raises(InputError, match="a.wav was generated of another prompt"):
        plan([ClipPrompt("a.wav", "a cat"), PROMPTS[1]])
    with pytest.raises(InputError, match="stood elsewhere"):
        plan(PROMPTS[::-1])
    longer = plan([*PROMPTS, ClipPrompt("c.wav", "wind")], batch=1)
    assert list(longer.record["clips"]) == ["a.wav", "sub/b.wav", "c.wav"]


def test_bad_names_and_folders_are_refused_before_any_work(opened, tmp_path):
    def plan(*names, folder=tmp_path / "new"):
        prompts = [ClipPrompt(name, "rain") for name in names]
        return plan_generation(opened, prompts, folder, SETTINGS)

    for name in ("../a.wav", "/etc/a.wav", "x/../../a.wav", "..", "a\x00.wav"):
        with pytest.raises(InputError):
            plan(name)
    with pytest.raises(InputError, match="would be that of a.flac, too"):
        plan("a.flac", "a.mp3")
    with pytest.raises(InputError, match="no prompts"):
        plan()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "a.wav").write_bytes(b"")
    with pytest.raises(InputError, match="says how they were generated"):
        plan("a.wav", folder=tmp_path / "old")
    assert not (tmp_path / "new").exists()


def test_a_clip_that_is_not_finite_is_left_out_and_named(opened, tmp_path, monkeypatch, capsys):
    """Its batch mates are generated again without it."""
    ours, real = tmp_path / "ours", Tones.run

    def run(self, request, **given):
        if any(clip.prompt == "rain" for clip in request.clips):
            raise NumericalError("NaN")
        return real(self, request, **given)

    monkeypatch.setattr(Tones, "run", run)
    plan = plan_generation(opened, PROMPTS, ours, SETTINGS)
    record = generate_clips(plan, progress=False)
    assert record["failed"] == ["sub/b.wav"] and list(waves(ours)) == ["a.wav"]
    # It is a clip of the set all the same, so that the others keep their pairs.
    clips = generated.open_generated(plan, PROMPTS, PROTOCOLS["musicnn"])
    clips.inspect_all()
    assert [clip.name for clip in clips.clips] == ["a.wav", "sub/b.flac"]
    assert list(clips.usable) == [0] and clips.problems.counts["not_finite"] == 1
    assert "sub/b.wav: the result is not finite" in capsys.readouterr().err
    # The next run knows it, and does not try again.
    monkeypatch.setattr(generated, "_generate", lambda *given: pytest.fail("tried again"))
    again = plan_generation(opened, PROMPTS, ours, SETTINGS)
    assert generate_clips(again, progress=False)["failed"] == ["sub/b.wav"]
    monkeypatch.undo()
    monkeypatch.setattr(generated, "Pipeline", Tones)
    monkeypatch.setattr(Tones, "run", run)
    with pytest.raises(NumericalError, match="no clip is finite"):
        generate_clips(
            plan_generation(opened, PROMPTS[1:], tmp_path / "b", SETTINGS), progress=False
        )
