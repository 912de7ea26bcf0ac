"""AudioLDM, MusicLDM, speech and the T5 variant: against diffusers' pipelines, and laws."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
import torch
from diffusers import AudioLDM2Pipeline
from diffusers.pipelines.deprecated.audioldm import AudioLDMPipeline
from diffusers.pipelines.deprecated.musicldm import MusicLDMPipeline

from audioldm2_jax import Pipeline, phonemes
from audioldm2_jax.checkpoints import hub
from audioldm2_jax.data.untrained import write_random
from audioldm2_jax.errors import InputError
from audioldm2_jax.pipelines.request import ClipRequest
from audioldm2_jax.pipelines.text import tokenise
from audioldm2_jax.sharding import make_mesh

PROMPTS = ["a dog barks", "techno music with a strong upbeat tempo and high melodic riffs"]
SAID = ["The cat sat on the mat.", "Hello there, friend of mine; what is up?"]
FAMILIES = ("tiny-audioldm", "tiny-48k", "tiny-musicldm", "tiny-t5", "tiny-speech")


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("families")
    for name in FAMILIES:
        write_random(root / name, name)
    return root


@pytest.fixture(scope="module")
def pipes(folders):
    loaded = {}

    def get(name, convention="authors"):
        key = (name, convention)
        if key not in loaded:
            folder = folders / name
            loaded[key] = Pipeline.from_pretrained(folder, convention=convention, progress=False)
        return loaded[key]

    return get


def speech(name, count=2):
    return {"transcription": SAID[:count]} if name == "tiny-speech" else {}


def noise(pipe, clips, seconds):
    vae, vocoder = pipe.config.vae, pipe.config.vocoder
    frames = -(-int(seconds / 0.01) // vae.factor)
    shape = (clips, frames, vocoder.mels // vae.factor, pipe.config.unet.in_channels)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def relative(ours, theirs):
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    assert theirs.std() > 1e-2, "the reference's scale proves nothing"
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


REFERENCES = {
    "tiny-audioldm": AudioLDMPipeline,
    "tiny-48k": AudioLDMPipeline,
    "tiny-musicldm": MusicLDMPipeline,
}


@pytest.mark.slow
@pytest.mark.parametrize("name, seconds", [(n, 0.64) for n in REFERENCES] + [("tiny-48k", 0.7)])
def test_agrees_with_diffusers(folders, pipes, name, seconds):
    theirs = REFERENCES[name].from_pretrained(folders / name)
    theirs.set_progress_bar_config(disable=True)
    if name == "tiny-musicldm":
        # diffusers expects a tensor, where transformers 5 returns an output object.
        features = theirs.text_encoder.get_text_features
        theirs.text_encoder.get_text_features = lambda *a, **k: features(*a, **k).pooler_output
    pipe = pipes(name, "diffusers")
    latents = noise(pipe, 2, seconds)
    reference = theirs(
        PROMPTS,
        negative_prompt=["noise", "loud"],
        num_inference_steps=4,
        guidance_scale=2.5,
        audio_length_in_s=seconds,
        latents=torch.tensor(latents).permute(0, 3, 1, 2),
    ).audios
    settings = dict(seconds=seconds, steps=4, sampler="ddim", guidance=2.5, progress=False)
    out = pipe(PROMPTS, ["noise", "loud"], latents=latents, **settings)
    assert relative(out.audio, reference) < 1e-3
    assert out.sample_rate == theirs.vocoder.config.sampling_rate


@pytest.mark.slow
@pytest.mark.parametrize("negative", [None, "a deep voice"])
def test_speech_agrees_with_diffusers(folders, pipes, negative):
    phonemes.require_espeak()
    theirs = AudioLDM2Pipeline.from_pretrained(folders / "tiny-speech")
    theirs.set_progress_bar_config(disable=True)
    pipe = pipes("tiny-speech", "diffusers")
    latents = noise(pipe, 2, 0.64)
    reference = theirs(
        PROMPTS,
        transcription=[phonemes.clean(text) for text in SAID],
        negative_prompt=negative and [negative] * 2,
        num_inference_steps=3,
        audio_length_in_s=0.64,
        latents=torch.tensor(latents).permute(0, 3, 1, 2),
        max_new_tokens=pipe.config.gpt2.tokens,
    ).audios
    settings = dict(seconds=0.64, steps=3, sampler="ddim", progress=False)
    out = pipe(PROMPTS, negative, transcription=SAID, latents=latents, **settings)
    assert relative(out.audio, reference) < 1e-3


# MusicLDM computes what AudioLDM does.
@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny-audioldm", "tiny-speech", "tiny-48k", "tiny-t5"])
def test_laws(pipes, folders, name):
    """Clip by clip == in one program; alone == in a batch; the text matters."""
    pipe = pipes(name)
    settings = dict(seconds=0.64, steps=3, seed=3, progress=False)
    both = pipe(PROMPTS, **speech(name), **settings)
    assert np.isfinite(both.audio).all() and both.audio.std() > 1e-3
    one_device = make_mesh(devices=jax.devices()[:1])
    whole = Pipeline(hub.load(folders / name), mesh=one_device)(PROMPTS, **speech(name), **settings)
    assert relative(whole.audio, both.audio) < 1e-4
    other = pipe(PROMPTS[:1] * 2, **speech(name), **settings)
    assert relative(other.audio[:1], both.audio[:1]) < 1e-5
    assert relative(other.audio[1:], both.audio[1:]) > 1e-4, "another text, the same sound"
    if name in ("tiny-audioldm", "tiny-speech"):
        alone = pipe(PROMPTS[0], **speech(name, 1), **settings)
        assert relative(alone.audio, both.audio[:1]) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny-audioldm", "tiny-t5"])
def test_candidates_and_no_guidance(pipes, name):
    settings = dict(seconds=0.64, steps=2, seed=3, guidance=1.0, progress=False)
    ranked = pipes(name)(PROMPTS[0], candidates=2, **settings)
    assert ranked.scores[0, 0] >= ranked.scores[0, 1]
    assert relative(ranked.candidates[0, :1], ranked.candidates[0, 1:]) > 1e-2


@pytest.mark.parametrize("name", FAMILIES)
def test_export_is_the_inverse_of_import(folders, tmp_path, name):
    first = hub.load(folders / name)
    hub.save(first, tmp_path / "copy")
    again = hub.load(tmp_path / "copy")
    assert first.config == again.config
    jax.tree.map(np.testing.assert_array_equal, first.params, again.params)


@pytest.mark.parametrize("name", ["tiny-audioldm", "tiny-musicldm", "tiny-speech"])
def test_what_diffusers_saves_loads(folders, tmp_path, name):
    """Its own spelling of configurations, its own choice of tensors (all of VITS, for speech)."""
    kind = REFERENCES.get(name, AudioLDM2Pipeline)
    kind.from_pretrained(folders / name).save_pretrained(tmp_path / "theirs")
    ours, theirs = hub.load(folders / name), hub.load(tmp_path / "theirs")
    if name == "tiny-audioldm":
        # The published layout has no audio tower.
        ours.params["clap"] = {k: v for k, v in ours.params["clap"].items() if "text" in k}
        config = dataclasses.replace(ours.config.clap, audio=None, mel=None)
        ours.config = dataclasses.replace(ours.config, clap=config)
    assert theirs.config == ours.config
    jax.tree.map(np.testing.assert_array_equal, ours.params, theirs.params)


@pytest.mark.slow
def test_what_is_said_matters(pipes):
    """One voice says many things; the default voice is the authors'."""
    pipe = pipes("tiny-speech")
    settings = dict(seconds=0.64, steps=3, seed=3, progress=False)
    many = pipe(PROMPTS[0], transcription=SAID, **settings)
    same = pipe(PROMPTS[0], transcription=SAID[:1] * 2, **settings)
    assert relative(many.audio[:1], same.audio[:1]) < 1e-3
    assert relative(many.audio[1:], same.audio[1:]) > 1e-4
    default = pipe(None, transcription=SAID, **settings)
    assert default.metadata["prompts"] == ["A female reporter is speaking full of emotion"] * 2


def test_saving_speech(pipes, tmp_path):
    out = pipes("tiny-speech")("a man", transcription=SAID, seconds=0.64, steps=3, progress=False)
    names = [path.name for path in out.save(tmp_path)]
    assert names[0] == "a_man-TTS-The_cat_sat_on_the_mat.wav"
    record = json.loads((tmp_path / names[1]).with_suffix(".json").read_text())
    assert record["transcription"] == SAID[1] and record["prompt"] == "a man"


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("tiny-audioldm", dict(transcription="hello"), "does not speak"),
        ("tiny-speech", dict(), "speaks: say what"),
        ("tiny-speech", dict(transcription=["hello", " "]), "transcription 2 of 2 is empty"),
        ("tiny-speech", dict(transcription=["a", "b", "c"], prompt=["x", "y"]), "3 texts for 2"),
    ],
)
def test_bad_speech_is_one_line(pipes, name, change, message):
    with pytest.raises(InputError, match=message) as caught:
        pipes(name)(**{"prompt": "a dog", "progress": False} | change)
    assert "\n" not in str(caught.value)


def test_published_audioldm_has_no_audio_tower(folders, tmp_path):
    """As the hub holds it: sound, but nothing to rank candidates by; and what we write is that."""
    folder = shutil.copytree(folders / "tiny-audioldm", tmp_path / "published")
    shutil.rmtree(folder / "audio_encoder")
    shutil.rmtree(folder / "feature_extractor")
    index = json.loads((folder / "model_index.json").read_text())
    assert index["text_encoder"] == ["transformers", "ClapTextModelWithProjection"]
    assert index["unet"] == ["diffusers", "UNet2DConditionModel"]
    pipe = Pipeline.from_pretrained(folder, progress=False)
    assert pipe.config.clap.audio is None
    out = pipe("a dog", seconds=0.3, steps=1, progress=False)
    with pytest.raises(InputError, match="no CLAP audio tower"):
        _ = out.scores
    with pytest.raises(InputError, match="ask for 1, or convert"):
        pipe("a dog", candidates=2, progress=False)
    paths = out.save(tmp_path / "out")
    assert json.loads(paths[0].with_suffix(".json").read_text())["scores"] is None


def test_a_tokenizer_of_another_model(folders, tmp_path):
    """Community folders number letters; the authors' convention keeps the training's table."""
    folder = shutil.copytree(folders / "tiny-speech", tmp_path / "letters")
    tokenizer = folder / "tokenizer_2"
    letters = {letter: i for i, letter in enumerate("_ abcdefghijklmnopqrstuvwxyz,.?!;'")}
    (tokenizer / "vocab.json").write_text(json.dumps(letters))
    config = json.loads((tokenizer / "tokenizer_config.json").read_text())
    config |= {"phonemize": False, "add_blank": False, "normalize": True}
    (tokenizer / "tokenizer_config.json").write_text(json.dumps(config))
    right = pipe_tokens(Pipeline.from_pretrained(folders / "tiny-speech", progress=False), SAID[0])
    for convention, same in (("authors", True), ("diffusers", False)):
        pipe = Pipeline.from_pretrained(folder, convention=convention, progress=False)
        encoded = pipe_tokens(pipe, SAID[0])
        assert (encoded == right) == same
        assert phonemes.STOP in encoded


def pipe_tokens(pipe, text):
    request = ClipRequest("a man", transcription=text, guidance=1.0)
    texts = tokenise([request], pipe.tokenizers, pipe.config, pipe.convention)
    return texts.text[0][texts.text_mask[0]].tolist()


@pytest.mark.slow
def test_audio_conditions_in_place_of_the_prompt(folders, pipes):
    """AudioLDM on CLAP's features of sounds, as the study's tests by audio: against diffusers."""
    theirs = AudioLDMPipeline.from_pretrained(folders / "tiny-audioldm")
    theirs.set_progress_bar_config(disable=True)
    pipe, latents = pipes("tiny-audioldm", "diffusers"), noise(pipes("tiny-audioldm"), 2, 0.64)
    features = np.random.default_rng(1).standard_normal((2, pipe.config.clap.width))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    reference = theirs(
        prompt_embeds=torch.tensor(features, dtype=torch.float32),
        num_inference_steps=4,
        guidance_scale=2.5,
        audio_length_in_s=0.64,
        latents=torch.tensor(latents).permute(0, 3, 1, 2),
    ).audios
    settings = dict(seconds=0.64, steps=4, sampler="ddim", latents=latents, progress=False)
    settings |= {"clap_features": features}
    out = pipe(PROMPTS, guidance=2.5, **settings)
    assert relative(out.audio, reference) < 1e-3
    assert out.metadata["clap_features_injected"]
    # The prompt is not read.
    other = pipe(["rain", "wind"], guidance=2.5, **settings)
    np.testing.assert_array_equal(out.audio, other.audio)


@pytest.mark.parametrize("features", [np.ones((1, 24)), np.zeros((2, 24)), np.ones((2, 5))])
def test_clap_features_that_do_not_fit(pipes, features):
    with pytest.raises(InputError, match="clap_features"):
        pipes("tiny-audioldm")(PROMPTS, clap_features=features, progress=False)
    with pytest.raises(InputError, match="not conditioned on CLAP"):
        pipes("tiny-t5")(PROMPTS, clap_features=np.ones((2, 24)), progress=False)
