"""The whole pipeline: against diffusers' AudioLDM2Pipeline, and laws of its own."""

import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import AudioLDM2Pipeline, DPMSolverMultistepScheduler
from transformers import GPT2LMHeadModel

from audioldm2_jax import Pipeline, audio
from audioldm2_jax.checkpoints import hub
from audioldm2_jax.data.untrained import write_random
from audioldm2_jax.encoders.clap import clap_audio_features
from audioldm2_jax.errors import InputError, NumericalError
from audioldm2_jax.features.clap import fit_clip
from audioldm2_jax.pipelines import ranking
from audioldm2_jax.pipelines.programs import scoring
from audioldm2_jax.pipelines.runner import Runner
from audioldm2_jax.sharding import make_mesh

PROMPTS = ["a dog barks", "techno music with a strong upbeat tempo and high melodic riffs"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    write_random(folder, "tiny")
    return folder


@pytest.fixture(scope="module")
def published(folder, tmp_path_factory):
    """The same checkpoint as the hub publishes it: one head count, GPT2Model, no text epsilon."""
    copy = tmp_path_factory.mktemp("published") / "tiny"
    pipe = AudioLDM2Pipeline.from_pretrained(folder)
    pipe.unet = type(pipe.unet).from_config(pipe.unet.config | {"attention_head_dim": 4})
    weights = AudioLDM2Pipeline.from_pretrained(folder).unet.state_dict()
    pipe.unet.load_state_dict(weights)
    pipe.save_pretrained(copy)
    pipe.language_model.transformer.save_pretrained(copy / "language_model")
    index = json.loads((copy / "model_index.json").read_text())
    index["language_model"] = ["transformers", "GPT2Model"]
    (copy / "model_index.json").write_text(json.dumps(index))
    config = json.loads((copy / "text_encoder" / "config.json").read_text())
    config["text_config"].pop("layer_norm_eps", None)
    (copy / "text_encoder" / "config.json").write_text(json.dumps(config))
    config = json.loads((copy / "language_model" / "config.json").read_text())
    config["max_new_tokens"] = 8
    (copy / "language_model" / "config.json").write_text(json.dumps(config))
    return copy


@pytest.fixture(scope="module")
def theirs(published):
    model = GPT2LMHeadModel.from_pretrained(published, subfolder="language_model")
    model.config.max_new_tokens = 8
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipe = AudioLDM2Pipeline.from_pretrained(published, language_model=model)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def diffusers_like(published):
    return Pipeline.from_pretrained(published, convention="diffusers", progress=False)


@pytest.fixture(scope="module")
def pipe(folder):
    return Pipeline.from_pretrained(folder, progress=False)


def noise(clips, frames, seed=0):
    return np.random.default_rng(seed).standard_normal((clips, frames, 16, 8)).astype(np.float32)


def relative(ours, theirs):
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    assert theirs.std() > 1e-2, "the reference's scale proves nothing"
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


@pytest.mark.slow
@pytest.mark.parametrize(
    "sampler, negative, seconds",
    [
        ("ddim", "low quality and very noisy sound of rain falling on a roof", 0.7),
        ("ddim", None, 0.64),
        ("dpm++2m", ["noise", "silence"], 0.7),
    ],
)
def test_agrees_with_diffusers(theirs, diffusers_like, sampler, negative, seconds):
    frames = -(-int(seconds / 0.01) // 4)
    latents = noise(2, frames)
    if isinstance(negative, str):
        given, negative_prompt = [negative] * 2, negative
    else:
        given = negative_prompt = negative
    scheduler = theirs.scheduler
    if sampler == "dpm++2m":
        theirs.scheduler = DPMSolverMultistepScheduler.from_config(scheduler.config)
    try:
        reference = theirs(
            PROMPTS,
            negative_prompt=given,
            num_inference_steps=5,
            audio_length_in_s=seconds,
            latents=torch.tensor(latents).permute(0, 3, 1, 2),
        ).audios
    finally:
        theirs.scheduler = scheduler
    out = diffusers_like(
        PROMPTS,
        negative_prompt,
        seconds=seconds,
        steps=5,
        sampler=sampler,
        latents=latents,
        progress=False,
    )
    assert relative(out.audio, reference) < 1e-3
    assert out.sample_rate == 16000


@pytest.mark.slow
@pytest.mark.parametrize("negative", [None, "low quality"])
def test_a_given_loa_stands_for_what_gpt2_says(theirs, diffusers_like, negative):
    """As diffusers' `generated_prompt_embeds`, which it reads beside the T5 states alone."""
    tokens, width = diffusers_like.config.gpt2.tokens, diffusers_like.config.gpt2.width
    loa = np.random.default_rng(1).standard_normal((2, tokens, width)).astype(np.float32)
    latents = noise(2, 16)
    given = None if negative is None else [negative] * 2
    with torch.no_grad():
        encoded = theirs.encode_prompt(PROMPTS, "cpu", 1, True, negative_prompt=given)
    states, mask, transcriptions = (x.chunk(2) for x in encoded)
    reference = theirs(
        prompt_embeds=states[1],
        attention_mask=mask[1],
        generated_prompt_embeds=torch.tensor(loa),
        negative_prompt_embeds=states[0],
        negative_attention_mask=mask[0],
        negative_generated_prompt_embeds=transcriptions[0],
        num_inference_steps=3,
        audio_length_in_s=0.64,
        latents=torch.tensor(latents).permute(0, 3, 1, 2),
    ).audios
    requested = {
        "seconds": 0.64,
        "steps": 3,
        "sampler": "ddim",
        "latents": latents,
        "progress": False,
    }
    out = diffusers_like(PROMPTS, negative, loa=loa, **requested)
    assert relative(out.audio, reference) < 1e-3
    assert out.metadata["loa_injected"]


def test_conventions_differ_as_named(published, diffusers_like):
    authors = Pipeline.from_pretrained(published, progress=False)
    assert authors.config.unet.heads == (1, 2)
    assert diffusers_like.config.unet.heads == (4, 4)
    assert authors.config.clap.text.eps == 1e-5
    assert diffusers_like.config.clap.text.eps == 1e-12


@pytest.mark.slow
def test_export_loads_in_diffusers_and_sounds_the_same(published, tmp_path):
    """What we write computes the same there, with the authors' heads given for each level."""
    checkpoint = hub.load(published, convention="authors")
    hub.save(checkpoint, tmp_path / "export")
    theirs = AudioLDM2Pipeline.from_pretrained(tmp_path / "export")
    theirs.set_progress_bar_config(disable=True)
    latents = noise(1, 16)
    reference = theirs(
        PROMPTS[:1],
        num_inference_steps=3,
        audio_length_in_s=0.64,
        latents=torch.tensor(latents).permute(0, 3, 1, 2),
    ).audios
    ours = Pipeline.from_pretrained(tmp_path / "export", convention="diffusers", progress=False)
    assert ours.config.unet.heads == (1, 2)
    out = ours(PROMPTS[0], seconds=0.64, steps=3, sampler="ddim", latents=latents, progress=False)
    assert relative(out.audio, reference) < 1e-3


def test_export_is_the_inverse_of_import(folder, tmp_path):
    first = hub.load(folder)
    hub.save(first, tmp_path / "copy")
    again = hub.load(tmp_path / "copy")
    assert first.config == again.config
    jax.tree.map(np.testing.assert_array_equal, first.params, again.params)


def test_a_seed_gives_the_same_clip_at_any_batch_size(pipe):
    settings = dict(seconds=0.5, steps=3, seed=7, progress=False)
    prompts = [PROMPTS[0], PROMPTS[1], "rain", "a calm piano"]
    together = pipe(prompts, **settings).audio
    alone = pipe(prompts[0], **settings).audio
    assert relative(alone, together[:1]) < 1e-3
    third = pipe(prompts[2], first_clip=2, **settings).audio
    assert relative(third, together[2:3]) < 1e-3
    assert relative(pipe(prompts[0], **settings | {"seed": 8}).audio, alone) > 0.1


@pytest.mark.parametrize(
    "sampler, eta",
    [
        ("ddim", 1.0),
        pytest.param("heun", 0.0, marks=pytest.mark.slow),
        pytest.param("ddpm", 0.0, marks=pytest.mark.slow),
    ],
)
def test_clip_by_clip_equals_the_whole_program(folder, pipe, sampler, eta):
    settings = dict(seconds=0.5, steps=4, sampler=sampler, eta=eta)
    inside = pipe(PROMPTS[0], progress=True, **settings).audio
    one_device = make_mesh(devices=jax.devices()[:1])
    other = Pipeline(hub.load(folder), mesh=one_device)
    whole = other(PROMPTS[0], progress=False, **settings).audio
    assert relative(inside, whole) < 1e-4


def test_candidates_are_ranked_against_their_own_prompt(pipe):
    out = pipe(PROMPTS, seconds=0.5, steps=2, candidates=3, progress=False)
    assert out.candidates.shape == (2, 3, out.audio.shape[1])
    assert (np.diff(out.scores, axis=1) <= 0).all()
    np.testing.assert_array_equal(out.audio, out.candidates[:, 0])
    # The scores are those of transformers' CLAP on the clips as they lie.
    texts = pipe.tokenizers["tokenizer"](PROMPTS, padding=True)
    from audioldm2_jax.models.clap import CLAP

    words = CLAP(pipe.config.clap).apply(
        {"params": pipe.params["clap"]},
        jnp.array(texts.input_ids),
        jnp.array(texts.attention_mask),
        method="text_features",
    )
    np.testing.assert_allclose(pipe.text_features(PROMPTS), words, atol=1e-5)
    for i in range(2):
        audio_features = pipe.audio_features(out.candidates[i], 16000)
        np.testing.assert_allclose(audio_features @ np.asarray(words[i]), out.scores[i], atol=1e-4)
    # Each prompt's clips are its own: the same as without ranking, in another order.
    unranked = pipe(PROMPTS, seconds=0.5, steps=2, candidates=3, progress=False, seed=0).candidates
    for i in range(2):
        assert {c.tobytes() for c in out.candidates[i]} == {c.tobytes() for c in unranked[i]}


@pytest.mark.parametrize("seconds", [0.5, 11.0])
def test_features_of_clips_are_those_of_resampled_files(pipe, seconds):
    """Nine clips, a number that chunks do not divide; one program for all lengths."""
    config, mesh = pipe.config.clap, make_mesh(devices=jax.devices()[:1])
    waves = np.random.default_rng(0).standard_normal((9, int(seconds * 16000)), np.float32)
    resampled = fit_clip(audio.resample(waves, 16000, config.mel.sample_rate), config.mel)
    encode = jax.jit(lambda params, wave: clap_audio_features(params, wave, config))
    expected = encode(pipe.params["clap"], resampled)
    runner = Runner(jnp.float32, mesh)
    for run in (pipe._runner, runner):
        ours = ranking.audio_features(run, pipe.params["clap"], config, waves, 16000)
        np.testing.assert_allclose(ours, expected, atol=2e-5)
    pipe.audio_features(waves[:, :1000], 16000)
    compiled = [key[1] for key in pipe._runner._compiled if key[0] is scoring.audio_features]
    assert len(compiled) == 1


def test_single_clips_are_scored_when_asked(pipe):
    out = pipe(PROMPTS, seconds=0.5, steps=3, progress=False)
    assert out.scores.shape == (2, 1) and np.abs(out.scores).max() <= 1
    assert out.scores is out.scores


def test_no_guidance(pipe):
    settings = dict(seconds=0.5, steps=3, progress=False)
    one = pipe(PROMPTS[0], guidance=1.0, **settings).audio
    none = pipe(PROMPTS[0], guidance=0.0, **settings).audio
    np.testing.assert_array_equal(one, none)
    assert relative(pipe(PROMPTS[0], guidance=5.0, **settings).audio, one) > 1e-2


def test_any_duration(pipe):
    """0.41 s is 10 latent frames, no multiple of what the U-Net halves; uncut by the authors."""
    out = pipe(PROMPTS[0], seconds=0.41, steps=1, progress=False)
    assert out.metadata["latent_frames"] == 10
    assert out.audio.shape == (1, 160 * 4 * 10 + 32)


@pytest.mark.slow
def test_bf16(folder, pipe):
    half = Pipeline.from_pretrained(folder, dtype="bf16", progress=False)
    assert all(x.dtype == jnp.bfloat16 for x in jax.tree.leaves(half.params))
    settings = dict(seconds=0.5, steps=3, progress=False)
    audio = half(PROMPTS[0], **settings).audio
    assert audio.dtype == np.float32
    assert relative(audio, pipe(PROMPTS[0], **settings).audio) < 0.5


def test_saving(pipe, tmp_path):
    out = pipe(['a dog / barks: "loud"!', "ok"], "noise", seconds=0.5, steps=3, progress=False)
    paths = out.save(tmp_path / "made")
    assert [p.name for p in paths] == ["a_dog_barks_loud.wav", "ok.wav"]
    again = out.save(tmp_path / "made")
    assert [p.name for p in again] == ["a_dog_barks_loud_2.wav", "ok_2.wav"]
    record = json.loads((tmp_path / "made" / "ok.json").read_text())
    repeated = pipe(
        record["prompt"],
        record["negative_prompt"],
        seconds=record["seconds"],
        steps=record["steps"],
        sampler=record["sampler"],
        guidance=record["guidance"],
        seed=record["seed"],
        first_clip=record["first_clip"],
        progress=False,
    )
    assert relative(repeated.audio, out.audio[1:]) < 1e-3
    assert record["convention"]["name"] == "authors"
    assert sorted(p.suffix for p in (tmp_path / "made").iterdir()) == [".json"] * 4 + [".wav"] * 4


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(prompt=""), "prompt 1 of 1 is empty"),
        (dict(prompt=["ok", "  "]), "prompt 2 of 2 is empty"),
        (dict(prompt=[]), "give a text"),
        (dict(seconds=0), "seconds is 0"),
        (dict(seconds=-1.5), "seconds is -1.5"),
        (dict(seconds=float("nan")), "seconds is nan"),
        (dict(seconds=float("inf")), "seconds is inf"),
        (dict(seconds=0.01), "shortest clip"),
        (dict(seconds=1e6), "the longest clip is 86400 s"),
        (dict(candidates=10**7), "GB are free"),
        (dict(sampler="dpm"), "unknown sampler 'dpm'"),
        (dict(steps=0), "steps is 0"),
        (dict(steps=1001), "steps is 1001"),
        (dict(candidates=0), "candidates is 0"),
        (dict(seed=-2), "seed is -2: .*, or -1 to draw one"),
        (dict(prompt=5), "prompt: give a text or a list of texts"),
        (dict(prompt=["a", None]), "prompt: give a text or a list of texts"),
        (dict(prompt="a\0b"), r"prompt 1 of 1 holds U\+0000"),
        (dict(prompt="a\udc80b"), r"prompt 1 of 1 holds U\+DC80"),
        (dict(prompt="a\x1b[2Jb"), r"prompt 1 of 1 holds U\+001B"),
        (dict(prompt="rain " * 10_000), "50000 characters: at most"),
        (dict(negative_prompt="\ud800"), r"negative_prompt 1 of 1 holds U\+D800"),
        (dict(negative_prompt=3), "negative_prompt: give a text"),
        (dict(negative_prompt="noise", guidance=1.0), "negative_prompt: has no effect"),
        (dict(transcription=4), "transcription: give a text"),
        (dict(eta=0.5, sampler="euler"), "eta"),
        (dict(guidance=float("nan")), "guidance is nan"),
        (dict(negative_prompt=["a", "b"]), "2 texts for 1 prompts"),
        (
            dict(latents=np.zeros((1, 2, 3))),
            r"latents: an array of shape \(1, 2, 3\); .* \(1, 256, 16, 8\)",
        ),
        (dict(latents=np.full((1, 256, 16, 8), np.nan)), "NaN"),
        (dict(loa=np.zeros((2, 8, 32))), r"loa: an array of shape \(2, 8, 32\)"),
        (dict(loa=np.full((1, 8, 32), np.inf)), "loa: NaN or infinity"),
    ],
)
def test_bad_requests_are_one_line(pipe, change, message):
    with pytest.raises(InputError, match=message) as caught:
        pipe(**{"prompt": "a dog", "progress": False} | change)
    assert "\n" not in str(caught.value)


def test_nan_in_the_result_is_an_error(folder):
    checkpoint = hub.load(folder)
    bias = checkpoint.params["vae"]["post_quant"]
    bias["bias"] = bias["bias"].at[0].set(jnp.nan)
    with pytest.raises(NumericalError, match="NaN") as caught:
        Pipeline(checkpoint)("a dog", seconds=0.3, steps=1, progress=False)
    assert not isinstance(caught.value, InputError)


def test_configuration_is_kept_by_the_presets(folder):
    from audioldm2_jax.presets.models import tiny

    assert hub.read_config(folder, hub.convention_named("diffusers")) == tiny()
