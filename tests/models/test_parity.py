"""Every part alone agrees with diffusers and transformers on random weights, in fp32."""

import copy
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import torch
from reference import assert_close, params_of

from audioldm2_jax import presets
from audioldm2_jax.checkpoints.parts import PARTS, PartFiles
from audioldm2_jax.models.clap import CLAP
from audioldm2_jax.models.gpt2 import GPT2, roll_out
from audioldm2_jax.models.hifigan import HiFiGAN
from audioldm2_jax.models.loa_projection import LOAProjection, sequence_positions
from audioldm2_jax.models.t5 import T5Encoder
from audioldm2_jax.models.unet import UNet
from audioldm2_jax.models.vae import VAE

TINY = presets.models.tiny()


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def padded_tokens(lengths, total, pad, seed=0):
    """Random ids of the given lengths, padded: (ids, mask)."""
    ids = np.random.default_rng(seed).integers(3, 600, (len(lengths), total))
    mask = (np.arange(total) < np.array(lengths)[:, None]).astype(np.int64)
    return np.where(mask == 1, ids, pad), mask


@pytest.fixture(scope="module")
def clap():
    module = reference.clap()
    model = CLAP(TINY.clap)
    ids = jnp.zeros((1, 4), jnp.int32)
    params = params_of(
        module, PARTS["clap"].table(TINY.clap), model, ids, ids, jnp.zeros((1, 251, 16))
    )
    return module, model, params


def test_clap_text(clap):
    module, model, params = clap
    ids, mask = padded_tokens([5, 12, 3], 64, pad=1)
    theirs = module.get_text_features(torch.tensor(ids), attention_mask=torch.tensor(mask))
    run = jax.jit(lambda *a: model.apply({"params": params}, *a, method="text_features"))
    ours = run(jnp.array(ids), jnp.array(mask))
    assert_close(ours, theirs.pooler_output)
    # Fewer pads, the same features: the pipeline relies on it.
    assert_close(run(jnp.array(ids[:, :16]), jnp.array(mask[:, :16])), theirs.pooler_output)


@pytest.mark.parametrize("frames", [251, 256])
def test_clap_audio(clap, frames):
    module, model, params = clap
    mel = draw(2, frames, 16) * 20 - 30
    theirs = module.get_audio_features(torch.tensor(mel)[:, None], is_longer=None)
    ours = jax.jit(lambda m: model.apply({"params": params}, m, method="audio_features"))(mel)
    assert_close(ours, theirs.pooler_output)


@pytest.mark.parametrize("feed_forward", ["gated-gelu", "relu"])
def test_t5(feed_forward):
    """FLAN-T5's feed-forwards are gated, those of the first T5 (MusicGen's) are not."""
    module, part = reference.t5(feed_forward), PARTS["t5"]
    config = part.read(PartFiles(module.config.to_dict()))
    gated = feed_forward != "relu"
    activation = TINY.t5.activation if gated else "relu"
    assert config == dataclasses.replace(TINY.t5, gated=gated, activation=activation)
    assert part.read(part.write(config)) == config
    model = T5Encoder(config)
    ids, mask = padded_tokens([7, 90, 1], 90, pad=0)
    theirs = module(torch.tensor(ids), attention_mask=torch.tensor(mask)).last_hidden_state
    params = params_of(module, part.table(config), model, jnp.array(ids), jnp.array(mask))
    ours = jax.jit(model.apply)({"params": params}, jnp.array(ids), jnp.array(mask))
    assert_close(ours, theirs)


def test_projection():
    module, model = reference.projection(), LOAProjection(TINY.projection)
    clap, text = draw(2, 24), draw(2, 9, 32)
    mask = np.arange(9) < np.array([[4], [9]])
    theirs = module(
        hidden_states=torch.tensor(clap)[:, None],
        hidden_states_1=torch.tensor(text),
        attention_mask=torch.ones(2, 1, dtype=torch.long),
        attention_mask_1=torch.tensor(mask).long(),
    )
    params = params_of(module, PARTS["projection"].table(TINY.projection), model, clap, text, mask)
    sequence, sequence_mask = model.apply({"params": params}, clap, text, mask)
    assert_close(sequence, theirs.hidden_states)
    np.testing.assert_array_equal(sequence_mask, theirs.attention_mask.bool().numpy())


@pytest.fixture(scope="module")
def gpt2():
    module, model = reference.gpt2(), GPT2(TINY.gpt2)
    ids = jnp.zeros((1, 4), jnp.int32)
    cache = ((jnp.zeros((1, 4, 4, 8)),) * 2,) * 2
    arguments = (jnp.zeros((1, 4, 32)), ids, cache, 0, jnp.ones((1, 4), bool))
    return module, model, params_of(module, PARTS["gpt2"].table(TINY.gpt2), model, *arguments)


def theirs_rolled(module, sequence, mask, count=8):
    """diffusers' way: recompute everything for each new vector, positions counted through."""
    x, mask = torch.tensor(sequence), torch.tensor(mask).long()
    with torch.no_grad():
        for _ in range(count):
            out = module.transformer(
                inputs_embeds=x, attention_mask=mask, position_ids=torch.arange(x.shape[1])[None]
            ).last_hidden_state
            x = torch.cat([x, out[:, -1:]], 1)
            mask = torch.cat([mask, torch.ones(len(mask), 1, dtype=torch.long)], 1)
    return x[:, -count:]


def test_roll_out_of_padded_prompts(gpt2):
    module, model, params = gpt2
    sequence = draw(3, 20, 32)
    mask = np.ones((3, 20), bool)
    mask[0, 8:19] = mask[1, 12:19] = False
    theirs = theirs_rolled(module, sequence, mask)
    positions = sequence_positions(15, [15, 15, 15])
    run = jax.jit(lambda *a: roll_out(model, params, *a, tokens=8))
    assert_close(run(sequence, mask, positions), theirs)


def test_slots_added_for_the_compiler_change_nothing(gpt2):
    module, model, params = gpt2
    sequence, mask = draw(2, 20, 32), np.ones((2, 20), bool)
    mask[0, 8:19] = False
    theirs = theirs_rolled(module, sequence, mask)
    longer = np.concatenate([sequence[:, :19], draw(2, 12, 32, seed=1), sequence[:, 19:]], 1)
    longer_mask = np.concatenate([mask[:, :19], np.zeros((2, 12), bool), mask[:, 19:]], 1)
    positions = sequence_positions(27, [15, 15])
    assert_close(roll_out(model, params, longer, longer_mask, positions, tokens=8), theirs)


@pytest.mark.slow
def test_cached_roll_out_equals_recomputed(gpt2):
    _, model, params = gpt2
    sequence, mask = jnp.array(draw(2, 12, 32)), jnp.ones((2, 12), bool)
    positions = sequence_positions(7, [7, 7])
    loa = roll_out(model, params, sequence, mask, positions, tokens=5)
    x = sequence
    for _ in range(5):
        one_more = jnp.arange(x.shape[1])[None].repeat(2, 0)
        state = roll_out(model, params, x, jnp.ones(x.shape[:2], bool), one_more, tokens=1)
        x = jnp.concatenate([x, state], 1)
    np.testing.assert_allclose(loa, x[:, -5:], atol=2e-5)


UNETS = {
    "base": dict(),
    "eight heads everywhere": dict(heads=4),
    "large": dict(contexts=((None, 32, 32, None),) * 3, depth=2),
}


def unet_config(heads, contexts=((None, 32, 32),) * 3, depth=1):
    return presets.UNetConfig(
        channels=(32, 64, 96),
        layers=1,
        attention=(False, True, True),
        contexts=contexts,
        depths=(depth,) * 3,
        heads=heads,
        groups=16,
    )


def run_unets(module, config, shape, lengths=(5, 9)):
    model = UNet(config)
    x, loa, text = draw(2, *shape, 8), draw(2, 8, 32, seed=1), draw(2, 9, 32, seed=2)
    mask = np.arange(9) < np.array(lengths)[:, None]
    steps = np.array([961, 961])
    inputs = (x, steps, (loa, text), (None, mask))
    params = params_of(module, PARTS["unet"].table(config), model, *inputs)
    # In double: torch's own fp32 rounding reaches 1e-4 of the deviation here, ours 3e-5.
    exact = copy.deepcopy(module).double()
    with torch.no_grad():
        theirs = exact(
            torch.tensor(x).double().permute(0, 3, 1, 2),
            961,
            encoder_hidden_states=torch.tensor(loa).double(),
            encoder_hidden_states_1=torch.tensor(text).double(),
            encoder_attention_mask_1=torch.tensor(mask).long(),
        ).sample.permute(0, 2, 3, 1)
    return jax.jit(model.apply)({"params": params}, *inputs), theirs, params


@pytest.mark.parametrize(
    "name, shape",
    [
        ("base", (16, 16)),
        ("base", (13, 16)),
        ("base", (30, 16)),
        ("eight heads everywhere", (8, 16)),
        pytest.param("large", (9, 16), marks=pytest.mark.slow),
    ],
)
def test_unet(name, shape):
    settings = UNETS[name]
    heads = settings.get("heads", 2)
    module = reference.unet(**{"heads": 2} | settings)
    extra = {k: v for k, v in settings.items() if k in ("contexts", "depth")}
    ours, theirs, _ = run_unets(module, unet_config((heads,) * 3, **extra), shape)
    assert_close(ours, theirs)


@pytest.mark.slow
def test_authors_heads_are_those_of_32_channels():
    """The split as trained is what diffusers computes with heads given for each level."""
    module = reference.unet(heads=(1, 2, 3))
    ours, theirs, _params = run_unets(module, unet_config((1, 2, 3)), (8, 16))
    assert_close(ours, theirs)
    other, _, _ = run_unets(module, unet_config((4, 4, 4)), (8, 16))
    assert np.abs(other - ours).max() > 0.01, "the head count should matter"


@pytest.fixture(scope="module")
def vae():
    module, model = reference.vae(), VAE(TINY.vae)
    params = params_of(
        module, PARTS["vae"].table(TINY.vae), model, jnp.zeros((1, 16, 64)), jax.random.key(0)
    )
    return module, model, params


def test_vae_encode(vae):
    module, model, params = vae
    mel = draw(2, 36, 64)
    theirs = module.encode(torch.tensor(mel)[:, None]).latent_dist
    mean, log_variance = jax.jit(lambda m: model.apply({"params": params}, m, method="encode"))(mel)
    assert_close(mean, theirs.mean.permute(0, 2, 3, 1))
    assert_close(log_variance, theirs.logvar.permute(0, 2, 3, 1))


def test_vae_decode(vae):
    module, model, params = vae
    latents = draw(2, 9, 16, 8)
    theirs = module.decode(torch.tensor(latents).permute(0, 3, 1, 2)).sample[:, 0]
    ours = jax.jit(lambda z: model.apply({"params": params}, z, method="decode"))(latents)
    assert_close(ours, theirs)


@pytest.mark.parametrize("normalize", [False, True])
def test_vocoder(normalize):
    module = reference.vocoder(normalize_before=normalize)
    module.mean.copy_(torch.tensor(draw(64)))
    module.scale.copy_(torch.tensor(draw(64) ** 2 + 0.5))
    config = dataclasses.replace(TINY.vocoder, normalize=normalize)
    model, mel = HiFiGAN(config), draw(2, 21, 64)
    params = params_of(module, PARTS["vocoder"].table(config), model, mel)
    ours = jax.jit(model.apply)({"params": params}, mel)
    assert ours.shape[1] == 160 * 21 + 32
    assert_close(ours, module(torch.tensor(mel)))
