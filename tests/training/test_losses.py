"""What the stages add to the losses: masks, weights, roll-outs and discriminators."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audioldm2_jax.encoders.loa import LMInputs
from audioldm2_jax.errors import InputError
from audioldm2_jax.losses import adversarial
from audioldm2_jax.models.audiomae import patches_of
from audioldm2_jax.models.discriminators import WaveDiscriminators
from audioldm2_jax.models.gpt2 import GPT2, roll_out
from audioldm2_jax.models.loa_projection import sequence_positions
from audioldm2_jax.models.lpips import LPIPS
from audioldm2_jax.presets import AudioMAEConfig
from audioldm2_jax.training.stages import audiomae, loa, vae, vocoder
from tests.training.stages_of import TINY, batch, build_spec, initial, largest_difference, weights
from tests.training.values import draw


def test_hidden_vectors():
    """Each clip loses a share of its own, of any size up to `hide`; draws belong to clips."""
    keys = jax.random.split(jax.random.key(0), 64)
    for most in (1.0, 0.5):
        mask = np.asarray(loa.prefix_mask((64, 200), keys, most))
        shares = 1 - mask.mean(-1)
        assert abs(shares.mean() - most / 2) < 0.1 and shares.max() < most + 0.1
        assert shares.std() > most / 5
    np.testing.assert_array_equal(loa.prefix_mask((3, 200), keys[:3], most), mask[:3])


def test_in_place_of_hidden_vectors():
    """Zeros, or GPT-2's own vectors from the prefix with zeros; no gradients through those."""
    size, count = 8, 5
    spec, _frozen = build_spec("loa")
    params, keys = initial(spec).params, jax.random.split(jax.random.key(1), size)
    settings = loa.LOASettings(TINY, prefix_dropout=1.0)
    truth, states = draw(size, count, TINY.gpt2.width), draw(size, 6, TINY.gpt2.width, seed=2)
    positions = sequence_positions(1, jnp.full(size, 1))
    inputs = LMInputs(jnp.asarray(states), jnp.ones((size, 6), bool), positions)
    prefix = loa.partial_prefix(settings, params, inputs, truth, keys)
    mask = np.asarray(loa.prefix_mask((size, count), keys, 1.0))[..., None]
    blank = np.where(mask, truth, 0)
    mixed = np.where(mask, truth, loa.teacher_forced(settings, params, inputs, jnp.asarray(blank)))
    uses_prediction = [np.allclose(a, b, atol=1e-5) for a, b in zip(prefix, mixed)]
    expected = np.where(np.reshape(uses_prediction, (-1, 1, 1)), mixed, blank)
    np.testing.assert_allclose(prefix, expected, atol=1e-5)
    assert 0 < sum(uses_prediction) < size

    def total(params):
        return loa.partial_prefix(settings, params, inputs, truth, keys).sum()

    assert all((x == 0).all() for x in jax.tree.leaves(jax.grad(total)(params)))


def test_held_out_clips_are_rolled_out_and_nothing_is_hidden():
    measures = []
    for settings in ({"prefix_dropout": 1.0}, {"prefix_dropout": 0.0}):
        spec, frozen = build_spec("loa", rollout_weight=0.0, **settings)
        state, group = initial(spec), spec.stage.groups["model"]
        keys = jax.random.split(jax.random.key(0), 2)
        arguments = (state.params, frozen, batch(2), keys, 0)
        measures.append(jax.jit(group.eval_loss)(*arguments)[1])
        assert "free" not in jax.eval_shape(group.loss, *arguments)[1]
    hiding, plain = measures
    assert hiding["forced"] == plain["forced"] and hiding["free"] == plain["free"] > 0


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_hidden_shares_are_shares(share):
    with pytest.raises(InputError, match="settings.prefix_dropout is "):
        build_spec("loa", prefix_dropout=share)


@pytest.mark.slow
def test_a_vocoder_without_discriminators_has_none():
    spec, _ = build_spec("vocoder", adversarial_weight=0.0, stft_weight=2.0)
    assert list(spec.stage.groups) == ["generator"]
    params = spec.stage.init(jax.random.key(0))
    assert set(params) == {"vocoder"}
    keys = jax.random.split(jax.random.key(1), 4)
    value, metrics = spec.stage.groups["generator"].loss(params, {}, batch(4), keys, 0)
    assert set(metrics) == {"mel", "spectra"}
    np.testing.assert_allclose(value, 45 * metrics["mel"] + 2 * metrics["spectra"], rtol=1e-5)


@pytest.mark.parametrize("dropout", [False, True])
def test_panns_drops_values_if_asked(dropout):
    spec, _ = build_spec("panns", mixup=False, dropout=dropout)
    params, loss = initial(spec).params, spec.stage.groups["model"].loss
    draws = [jax.random.split(jax.random.key(i), 8) for i in (0, 1)]
    values = [loss(params, {}, batch(), keys, 0)[0] for keys in draws]
    assert (values[0] != values[1]) == dropout


@pytest.mark.slow
def test_the_vaes_adaptive_weight():
    """The ratio of both terms' gradients at the last kernel, taken the long way."""
    spec, _ = build_spec("vae", discriminator_start=0)
    settings = vae.VAESettings(TINY, discriminator_start=0, discriminator_width=8)
    params = initial(spec).params
    keys = jax.random.split(jax.random.key(3), 4)
    data = batch(4)
    _, metrics = vae.generator_loss(settings)(params, {}, data, keys, 0)

    def term(kernel, which):
        last = params["vae"]["decoder"]["conv_out"] | {"kernel": kernel}
        decoder = params["vae"]["decoder"] | {"conv_out": last}
        changed = params | {"vae": params["vae"] | {"decoder": decoder}}
        mel, recon, *_ = vae.reconstruct(settings, changed, data, keys)
        if which == "error":
            return jnp.abs(mel - recon).sum((1, 2)).mean()
        network = {"params": params["discriminator"]}
        return -settings.discriminator.apply(network, recon).mean()

    kernel = params["vae"]["decoder"]["conv_out"]["kernel"]
    norms = [float(jnp.linalg.norm(jax.grad(term)(kernel, w))) for w in ("error", "adversarial")]
    expected = 0.5 * min(1e4, norms[0] / (norms[1] + 1e-4))
    np.testing.assert_allclose(metrics["adversarial"], expected, rtol=1e-3)


@pytest.mark.slow
def test_the_perceptual_term():
    """It is LPIPS of mel and reconstruction at every position."""
    frozen = {"lpips": LPIPS().init(jax.random.key(1), draw(1, 32, 32), draw(1, 32, 32))["params"]}
    spec, _ = build_spec("vae")
    params, data = initial(spec).params, batch(2)
    keys = jax.random.split(jax.random.key(3), 2)
    plain, seeing = (
        vae.VAESettings(TINY, adversarial_weight=0.0, perceptual_weight=weight)
        for weight in (0.0, 0.7)
    )
    values = [vae.generator_loss(s)(params, frozen, data, keys, 0)[0] for s in (plain, seeing)]
    mel, recon, *_ = vae.reconstruct(plain, params, data, keys)
    distance = LPIPS().apply({"params": frozen["lpips"]}, mel, recon).mean()
    expected = 0.7 * distance * mel[0].size
    np.testing.assert_allclose(values[1] - values[0], expected, rtol=1e-3)


@pytest.mark.slow
def test_the_discriminator_counts_from_its_start():
    settings = vae.VAESettings(TINY, discriminator_start=5, discriminator_width=8)
    spec, _ = build_spec("vae")
    params = initial(spec).params
    keys, data = jax.random.split(jax.random.key(3), 4), batch(4)
    run = vae.generator_loss(settings)
    early, late = (run(params, {}, data, keys, step)[0] for step in (4, 5))
    plain = vae.VAESettings(TINY, adversarial_weight=0.0)
    expected = vae.generator_loss(plain)(params, {}, data, keys, 0)[0]
    np.testing.assert_allclose(early, expected, rtol=1e-6)
    assert abs(float(late - early)) > 0
    silent, _ = vae.discriminator_loss(settings)(params, {}, data, keys, 4)
    assert float(silent) == 0


@pytest.mark.slow
def test_pairs_score_as_real_and_generated_clips_alone(monkeypatch):
    """Mixed up, the scores of real and generated clips would give another loss."""
    discriminators = WaveDiscriminators((2, 3), (4, 8, 8, 8, 8), 8, 2)
    monkeypatch.setattr(vocoder, "SMALL", discriminators)
    settings = vocoder.VocoderSettings(TINY, segment=2048, small_discriminators=True)
    data, keys = batch(3), jax.random.split(jax.random.key(3), 3)
    network = discriminators.init(jax.random.key(1), data["waveform"][:, :2048])
    params = {"vocoder": weights()["vocoder"], "discriminators": network["params"]}
    value, _ = vocoder.discriminator_loss(settings)(params, {}, data, keys, 0)
    real, _, fake = vocoder.generate(settings, params, data, keys)
    scores = [[score for score, _ in discriminators.apply(network, wave)] for wave in (real, fake)]
    expected = adversarial.least_squares_discriminator(*scores)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    swapped = adversarial.least_squares_discriminator(*scores[::-1])
    assert abs(float(swapped - expected)) > 1e-3


def test_masked_patches():
    """Only hidden patches count, each normalised; the mask hides what it should."""
    config = AudioMAEConfig(frames=128, width=32, depth=1, heads=2, hidden=48)
    settings = audiomae.AudioMAESettings(dataclasses.replace(TINY, audiomae=config))
    assert settings.visible_patches == 12
    order, inverse = audiomae.shuffle(jax.random.split(jax.random.key(0), 5), 64)
    for row, back in zip(np.asarray(order), np.asarray(inverse)):
        np.testing.assert_array_equal(row[back], np.arange(64))
        assert (back < settings.visible_patches).sum() == 12
        assert set(np.flatnonzero(back < 12)) == set(row[:12].tolist())
    bank = draw(2, 128, 128)
    patches = np.asarray(patches_of(bank, config))
    np.testing.assert_array_equal(patches[1, 8 * 3 + 5], bank[1, 48:64, 80:96].reshape(-1))


@pytest.mark.slow
def test_teacher_forced_on_its_own_roll_out_is_the_roll_out():
    """With padded texts of different length."""
    spec, _ = build_spec("loa")
    params = initial(spec).params
    settings = loa.LOASettings(TINY)
    width = TINY.gpt2.width
    states = draw(3, 12, width)
    lengths = jnp.array([4, 12 - 5, 2])
    mask = jnp.concatenate(
        [jnp.ones((3, 4), bool), jnp.arange(7) < lengths[:, None], jnp.ones((3, 1), bool)], 1
    )
    positions = sequence_positions(7, lengths)
    model = GPT2(TINY.gpt2)
    inputs = LMInputs(jnp.asarray(states), mask, positions)
    rolled = roll_out(model, params["gpt2"], states, mask, positions, tokens=6)
    forced = loa.teacher_forced(settings, params, inputs, rolled)
    np.testing.assert_allclose(forced, rolled, atol=1e-5)
    # Without gradients from vector to vector: the same vectors, and of one the same gradients.
    short = dataclasses.replace(settings, backprop_through_rollout=False)
    vectors = loa.rollout(short, params, inputs, 6)
    np.testing.assert_allclose(vectors, rolled, atol=1e-5)

    def gradients(settings, count):
        weight = draw(3, count, width, seed=2)
        return jax.grad(lambda p: (weight * loa.rollout(settings, p, inputs, count)).sum())(
            {"gpt2": params["gpt2"]}
        )

    one = gradients(short, 1), gradients(settings, 1)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), *one)
    assert largest_difference(gradients(short, 6), gradients(settings, 6)) > 1e-3
