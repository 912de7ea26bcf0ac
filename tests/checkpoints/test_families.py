"""A part is one value, a family is one value: new ones are saved and loaded by the same code."""

import dataclasses
import json
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioldm2_jax.checkpoints import families, hub
from audioldm2_jax.checkpoints.convert import MATRIX, PLAIN, Rule, Table, from_params, to_params
from audioldm2_jax.checkpoints.families import FAMILIES, Family
from audioldm2_jax.checkpoints.init import random_params
from audioldm2_jax.checkpoints.parts import PARTS, Part, PartFiles, parts_of
from audioldm2_jax.data.untrained import write_random
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import CONVENTIONS, PRESETS, CLAPConfig, GPT2Config

AUTHORS, DIFFUSERS = (CONVENTIONS[name] for name in ("authors", "diffusers"))


@dataclass(frozen=True)
class ClassifierConfig:
    """A part that no model here has."""

    width: int
    classes: int


@dataclass(frozen=True)
class CaptionerConfig:
    """CLAP, GPT-2 and a classifier: neither a U-Net, nor a VAE, nor a vocoder, nor a schedule."""

    family: str
    clap: CLAPConfig | None = None
    gpt2: GPT2Config | None = None
    classifier: ClassifierConfig | None = None


TABLE = Table((Rule("linear.weight", "kernel", MATRIX), Rule("linear.bias", "bias", PLAIN)))
PART = Part(
    name="classifier",
    folder="head",
    classes={"Classifier": "captioner"},
    weights="model.safetensors",
    model=lambda config: nn.Dense(config.classes),
    inputs=lambda config: (jnp.zeros((1, config.width)),),
    read=lambda files: ClassifierConfig(**files.content),
    write=lambda config: PartFiles(dataclasses.asdict(config), kind="Classifier"),
    table=lambda config: TABLE,
)
FAMILY = Family(
    name="captioner",
    pipeline="CaptionerPipeline",
    parts=("clap", "gpt2"),
    optional=("classifier",),
    config=CaptionerConfig,
    scheduler=False,
)


@pytest.mark.parametrize("head", [ClassifierConfig(24, 5), None])
def test_a_new_family_and_a_new_part_are_two_values(tmp_path, monkeypatch, head):
    """Saved and loaded by the hub's code as it is; the index names what it holds."""
    monkeypatch.setitem(PARTS, PART.name, PART)
    monkeypatch.setitem(FAMILIES, FAMILY.name, FAMILY)
    tiny = PRESETS["tiny"]()
    config = CaptionerConfig(FAMILY.name, tiny.clap, tiny.gpt2, head)
    params = {name: random_params(name, getattr(config, name)) for name in parts_of(config)}
    saved = hub.Checkpoint(config, params, {}, AUTHORS, "made here")
    hub.save(saved, tmp_path / "model")
    index = json.loads((tmp_path / "model" / "model_index.json").read_text())
    assert index["_class_name"] == "CaptionerPipeline"
    assert not {"unet", "vae", "vocoder", "scheduler"} & set(index)
    assert index.get("head") == (["captioner", "Classifier"] if head else None)
    write_random(tmp_path / "tiny", "tiny")
    (tmp_path / "tiny" / "tokenizer").rename(tmp_path / "model" / "tokenizer")
    loaded = hub.load(tmp_path / "model", convention="diffusers")
    assert loaded.config == config == hub.read_config(tmp_path / "model", DIFFUSERS)
    jax.tree.map(np.testing.assert_array_equal, loaded.params, params)


def test_a_required_part_is_missed_by_name(tmp_path, monkeypatch):
    monkeypatch.setitem(FAMILIES, FAMILY.name, dataclasses.replace(FAMILY, optional=()))
    index = {"_class_name": FAMILY.pipeline, "text_encoder": ["transformers", "ClapModel"]}
    index["tokenizer"] = ["transformers", "RobertaTokenizerFast"]
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="language_model is of class None; known: GPT2LMHeadModel"):
        hub.describe(tmp_path)
    index["unet"] = ["diffusers", "UNet2DConditionModel"]
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="unknown part 'unet'"):
        hub.describe(tmp_path)


@pytest.mark.parametrize("preset", [name for name in PRESETS if name.startswith("tiny")])
def test_every_preset_is_of_its_family(preset):
    config = PRESETS[preset]()
    family = FAMILIES[config.family]
    assert family.missing(parts_of(config)) is None
    allowed = {name for names, _ in family.slots for name in names}
    assert set(parts_of(config)) <= allowed
    assert family.mended(config) == config
    for name in parts_of(config):
        part, own = PARTS[name], getattr(config, name)
        assert part.read(part.write(own)) == own


@pytest.mark.parametrize("name", FAMILIES)
def test_families_name_known_parts(name):
    family = FAMILIES[name]
    for names, _ in family.slots:
        assert set(names) <= PARTS.keys()
        assert len({PARTS[part].folder for part in names}) == 1
    assert family.missing(()) == family.slots[0][0][0]


def test_quirks_act_after_reading_and_leave_what_the_files_say(tmp_path):
    write_random(tmp_path / "speech", "tiny-speech")
    path = tmp_path / "speech" / "language_model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"max_new_tokens": 8}))
    description = hub.describe(tmp_path / "speech")
    assert description.config.gpt2.tokens == 8
    assert description.under(AUTHORS).gpt2.tokens == 512
    assert families.speech_tokens(PRESETS["tiny"]()) == PRESETS["tiny"]()


def test_a_convention_acts_after_reading(tmp_path):
    """The description is what the files say; each convention interprets it."""
    write_random(tmp_path / "tiny", "tiny")
    for folder, entry in (("unet", "attention_head_dim"), ("vocoder", "griffin_lim")):
        path = tmp_path / "tiny" / folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {entry: 4}))
    description = hub.describe(tmp_path / "tiny")
    from_files, authors, diffusers = (
        description.config, description.under(AUTHORS), description.under(DIFFUSERS)
    )  # fmt: skip
    assert (from_files.unet.heads, from_files.vocoder.griffin_lim) == ((4, 4), 4)
    assert (authors.unet.heads, authors.vocoder.griffin_lim) == ((1, 2), 4)
    assert (diffusers.unet.heads, diffusers.vocoder.griffin_lim) == ((4, 4), 0)


def test_audioldm_takes_a_whole_clap_as_two_towers():
    """Its files then hold no temperatures, and diffusers' pipeline finds the text tower."""
    clap_model = PRESETS["tiny-musicldm"]().clap
    base = dataclasses.replace(PRESETS["tiny-audioldm"](), clap=clap_model)
    towers = FAMILIES["audioldm"].mended(base).clap
    state = from_params(
        random_params("clap", clap_model), PARTS["clap"].table(clap_model), clap_model
    )
    params = to_params(state, PARTS["clap"].table(towers), PARTS["clap"].shapes(towers))
    assert not {"text_logit_scale", "audio_logit_scale"} & set(params)
    assert PARTS["clap"].write(towers).kind == "ClapTextModelWithProjection"
