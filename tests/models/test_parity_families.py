"""Parts of the other families agree with diffusers and transformers on random weights."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import torch
from diffusers import AudioLDM2ProjectionModel, AudioLDM2UNet2DConditionModel, UNet2DConditionModel
from reference import assert_close, healthy, params_of
from transformers import ClapTextModelWithProjection, VitsConfig, VitsModel

from audioldm2_jax import presets
from audioldm2_jax.checkpoints.parts import PARTS, PartFiles
from audioldm2_jax.models.audiomae import pool_loa
from audioldm2_jax.models.clap import CLAP
from audioldm2_jax.models.loa_projection import LOAProjection
from audioldm2_jax.models.phoneme_encoder import PhonemeEncoder
from audioldm2_jax.models.unet import UNet


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


SHAPE = dict(
    sample_size=64,
    in_channels=8,
    out_channels=8,
    flip_sin_to_cos=True,
    freq_shift=0,
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    block_out_channels=(32, 64, 96),
    layers_per_block=1,
    norm_num_groups=16,
    attention_head_dim=(1, 2, 3),
)
FILM = dict(
    class_embed_type="simple_projection",
    class_embeddings_concat=True,
    projection_class_embeddings_input_dim=24,
)
UNETS = {
    "audioldm": (UNet2DConditionModel, FILM | {"cross_attention_dim": (32, 64, 96)}),
    "48k": (AudioLDM2UNet2DConditionModel, FILM | {"cross_attention_dim": [[None, None]] * 3}),
    "t5": (AudioLDM2UNet2DConditionModel, {"cross_attention_dim": [[None, 40]] * 3}),
    "speech": (AudioLDM2UNet2DConditionModel, {"cross_attention_dim": [[None, 32]] * 3}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", UNETS)
def test_unet(name):
    """Read from the reference's own configuration, compared in double."""
    kind, settings = UNETS[name]
    module = healthy(kind(**SHAPE | settings))
    content = dict(module.config)
    part, files = PARTS["unet"], PartFiles(content, name, kind.__name__)
    config = part.interpret(part.read(files), files, presets.CONVENTIONS["authors"])
    x, steps = draw(2, 13, 16, 8), np.array([961, 961])
    text, film = draw(2, 9, 40, seed=1), draw(2, 24, seed=2)
    mask = np.arange(9) < np.array([[5], [9]])
    streams, masks = ((text,), (mask, None)) if name == "t5" else ((), (None, None))
    if name == "speech":
        streams = (text[..., :32],)
    theirs = {"encoder_hidden_states": None}
    if streams:
        theirs["encoder_hidden_states"] = torch.tensor(streams[0]).double()
    if name == "t5":
        theirs["encoder_attention_mask"] = torch.tensor(mask).long()
    if config.film:
        theirs["class_labels"] = torch.tensor(film).double()
    with torch.no_grad():
        x_theirs = torch.tensor(x).double().permute(0, 3, 1, 2)
        exact = copy.deepcopy(module).double()(x_theirs, 961, **theirs).sample
    inputs = (x, steps, streams, masks, film if config.film else None)
    model = UNet(config)
    params = params_of(module, part.table(config), model, *inputs)
    assert_close(jax.jit(model.apply)({"params": params}, *inputs), exact.permute(0, 2, 3, 1))


@pytest.mark.slow
def test_film_made_once_equals_film_made_each_step():
    """The pipeline adds the conditioning vector's biases to each step's."""
    config = presets.models.tiny_audioldm().unet
    model, x, film = UNet(config), draw(2, 8, 16, 8), draw(2, 24, seed=2)
    params = model.init(jax.random.key(0), x, jnp.array([7.0]), (), (None, None), film)
    full = model.apply(params, x, jnp.array([7.0, 7.0]), (), (None, None), film)
    times = model.apply(params, jnp.array([900.0, 7.0]), method="time_bias")
    films = model.apply(params, film, method="film_bias")
    biases = jax.tree.map(lambda t, f: t[1:2] + f, times, films)
    keys = model.apply(params, method="kv")
    cached = model.apply(params, x, biases, keys, method="denoise")
    np.testing.assert_allclose(cached, full, atol=1e-5)


@pytest.mark.parametrize("longer", [(True, False), (False, False), (True, True)])
def test_clap_audio_with_fusion(longer):
    module = reference.clap(enable_fusion=True, fusion_type="aff_2d", aff_block_r=2)
    part, files = PARTS["clap"], PartFiles(module.config.to_dict())
    config = part.interpret(part.read(files), files, presets.CONVENTIONS["authors"])
    assert config.audio.fusion
    mel = draw(2, 4, 251, 16) * 20 - 30
    ids = jnp.zeros((1, 4), jnp.int32)
    model = CLAP(config)
    params = params_of(module, PARTS["clap"].table(config), model, ids, ids, mel, np.array(longer))
    theirs = module.get_audio_features(torch.tensor(mel), is_longer=torch.tensor(longer)[:, None])
    run = jax.jit(lambda m, far: model.apply({"params": params}, m, far, method="audio_features"))
    assert_close(run(mel, np.array(longer)), theirs.pooler_output)


def test_clap_text_tower_alone():
    """AudioLDM's text_encoder."""
    text = reference.clap().config.text_config
    text.projection_dim = 24
    module = healthy(ClapTextModelWithProjection(text))
    files = PartFiles(text.to_dict(), kind="ClapTextModelWithProjection")
    config = PARTS["clap"].read(files)
    assert (config.audio, config.scales, config.width) == (None, False, 24)
    ids = np.random.default_rng(0).integers(4, 600, (2, 9))
    model = CLAP(config)
    params = params_of(module, PARTS["clap"].table(config), model, ids, np.ones_like(ids))
    theirs = module(torch.tensor(ids), attention_mask=torch.ones(2, 9)).text_embeds
    ours = model.apply({"params": params}, ids, np.ones_like(ids), method="text_features")
    assert_close(ours, torch.nn.functional.normalize(theirs, dim=-1))


@pytest.fixture(scope="module")
def vits():
    config = VitsConfig(
        vocab_size=183,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        ffn_dim=48,
        flow_size=24,
    )
    return healthy(VitsModel(config))


@pytest.mark.parametrize("length", [3, 12])
def test_phonemes(vits, length):
    config = PARTS["phonemes"].read(PartFiles(vits.config.to_dict()))
    model, ids = PhonemeEncoder(config), np.random.default_rng(0).integers(1, 183, (2, length))
    mask = (np.arange(length) < np.array([[2], [length]])).astype(np.float32)
    theirs = vits.text_encoder(
        torch.tensor(ids),
        padding_mask=torch.tensor(mask)[..., None],
        attention_mask=torch.tensor(mask),
    ).last_hidden_state
    params = params_of(vits, PARTS["phonemes"].table(config), model, ids, mask)
    ours = jax.jit(model.apply)({"params": params}, ids, mask)
    assert_close(ours, theirs)
    # Nothing kept, nothing said: the unconditional states are zeros.
    nothing = model.apply({"params": params}, ids, np.zeros_like(mask))
    np.testing.assert_array_equal(nothing, np.zeros_like(nothing))


def test_projection_with_learned_positions():
    module = AudioLDM2ProjectionModel(
        24, 16, 32, use_learned_position_embedding=True, max_seq_length=9
    )
    module = healthy(module)
    config = PARTS["projection"].read(PartFiles(dict(module.config)))
    clap, text, mask = draw(2, 24), draw(2, 9, 16), np.arange(9) < np.array([[4], [9]])
    theirs = module(
        hidden_states=torch.tensor(clap)[:, None],
        hidden_states_1=torch.tensor(text),
        attention_mask=torch.ones(2, 1, dtype=torch.long),
        attention_mask_1=torch.tensor(mask).long(),
    )
    model = LOAProjection(config)
    params = params_of(module, PARTS["projection"].table(config), model, clap, text, mask)
    sequence, _ = model.apply({"params": params}, clap, text, mask)
    assert_close(sequence, theirs.hidden_states)


@pytest.mark.parametrize("time, bins, count", [(8, 8, 8), (1, 1, 512), (4, 2, 64)])
def test_pooling(time, bins, count):
    """Half the average and half the maximum over the grid of patches, as torch pools it."""
    config = presets.AudioMAEConfig(width=6)
    tokens = draw(2, 513, 6)
    grid = torch.tensor(tokens[:, 1:]).transpose(1, 2).reshape(2, 6, 64, 8)
    pooled = [
        pool(grid, (time, bins)).flatten(2).transpose(1, 2)
        for pool in (torch.nn.functional.avg_pool2d, torch.nn.functional.max_pool2d)
    ]
    ours = pool_loa(tokens, config, time, bins)
    assert ours.shape == (2, count, 6)
    np.testing.assert_allclose(ours, sum(pooled).numpy() / 2, atol=1e-6)
