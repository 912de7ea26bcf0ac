"""Losses and discriminators against independent formulations, most of them in torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from audioldm2_jax import tree
from audioldm2_jax.diffusion.schedules import alphas_bar
from audioldm2_jax.losses import adversarial, contrastive, diffusion, gaussian
from audioldm2_jax.models import discriminators
from audioldm2_jax.models.audiomae import fixed_positions, patches_of
from audioldm2_jax.models.gpt2 import GPT2, roll_out
from audioldm2_jax.models.sequence import sequence_positions
from audioldm2_jax.models.tagger import Tagger
from audioldm2_jax.presets import AudioMAEConfig, ScheduleConfig, TaggerConfig
from audioldm2_jax.training import weight_norm
from audioldm2_jax.training.stages import audiomae, sequence, vae
from tests.training.stages_of import TINY, batch, initial, made


def draw(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def randomised(params, seed=0):
    """Parameters none of which is zero or one."""
    flat = tree.flatten(params)
    return tree.unflatten(
        {
            path: jnp.asarray(
                (1.0 + 0.1 * draw(*x.shape, seed=i))
                if path.endswith(("scale", "variance"))
                else 0.3 * draw(*x.shape, seed=i)
            )
            for i, (path, x) in enumerate(sorted(flat.items()))
        }
    )


def test_noise_has_the_schedules_variance():
    config = ScheduleConfig()
    latents, keys = 2.0 * draw(64, 8, 4, 2), jax.random.split(jax.random.key(0), 64)
    mixed, noise, timesteps = diffusion.noised(latents, keys, config)
    kept = alphas_bar(config)[np.asarray(timesteps)].reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(
        mixed, np.sqrt(kept) * latents + np.sqrt(1 - kept) * np.asarray(noise), atol=1e-5
    )
    assert len(set(np.asarray(timesteps).tolist())) > 50
    assert abs(float(noise.std()) - 1) < 0.05
    again = diffusion.noised(latents[:3], keys[:3], config)[0]
    np.testing.assert_allclose(again, mixed[:3], atol=1e-6, err_msg="draws belong to clips")


def test_divergence():
    mean, logvar = draw(3, 4, 4, 2), 0.3 * draw(3, 4, 4, 2, seed=1)
    expected = 0.5 * np.mean(mean**2 + np.exp(logvar) - 1 - logvar, axis=(1, 2, 3))
    np.testing.assert_allclose(gaussian.divergence(mean, logvar), expected, rtol=1e-5)
    normal = torch.distributions.Normal(torch.tensor(mean), torch.exp(0.5 * torch.tensor(logvar)))
    unit = torch.distributions.Normal(torch.zeros(mean.shape), torch.ones(mean.shape))
    theirs = torch.distributions.kl_divergence(normal, unit).mean((1, 2, 3))
    np.testing.assert_allclose(gaussian.divergence(mean, logvar), theirs, rtol=1e-4)


def test_contrastive():
    audio, text = (torch.nn.functional.normalize(torch.tensor(draw(6, 5, seed=i))) for i in (1, 2))
    product = audio @ text.T
    target = torch.arange(6)
    theirs = (F.cross_entropy(9.0 * product, target) + F.cross_entropy(7.0 * product.T, target)) / 2
    ours = contrastive.contrastive(jnp.asarray(audio), jnp.asarray(text), 9.0, 7.0)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_patch_discriminator():
    """taming-transformers' NLayerDiscriminator, written out."""
    network = discriminators.PatchGAN(8)
    mel = draw(2, 64, 32)
    params = randomised(network.init(jax.random.key(0), mel)["params"])

    def conv(x, name, stride, bias=True):
        part = params[name]
        kernel = torch.tensor(np.asarray(part["kernel"]).transpose(3, 2, 0, 1))
        offset = torch.tensor(np.asarray(part["bias"])) if bias else None
        return F.conv2d(x, kernel, offset, stride, 1)

    x = F.leaky_relu(conv(torch.tensor(mel)[:, None], "conv_in", 2), 0.2)
    for i, stride in ((1, 2), (2, 2), (3, 1)):
        x, norm = conv(x, f"conv_{i}", stride, bias=False), params[f"norm_{i}"]
        scale, bias = (torch.tensor(np.asarray(norm[k])) for k in ("scale", "bias"))
        x = F.leaky_relu(F.batch_norm(x, None, None, scale, bias, True), 0.2)
    theirs = conv(x, "conv_out", 1)[:, 0]
    ours = network.apply({"params": params}, mel)
    np.testing.assert_allclose(ours, theirs, atol=2e-4 * float(theirs.std()))


def test_wave_discriminators():
    """HiFi-GAN's, written out with torch's convolutions, pooling and weight norm."""
    network = discriminators.WaveDiscriminators((2, 3), (4, 8, 8, 8, 8), 8, 3)
    wave = draw(2, 2048)
    params = randomised(network.init(jax.random.key(0), wave)["params"])

    def normed(part, spectral):
        kernel = np.asarray(part["kernel"], np.float64)
        flat = kernel.reshape(-1, kernel.shape[-1])
        if spectral:
            return kernel / float(discriminators.largest_gain(jnp.asarray(flat, jnp.float32)))
        return kernel * np.asarray(part["scale"]) / np.sqrt((flat**2).sum(0))

    def layers(x, part, convolve):
        found, names = [], sorted(n for n in part if n != "conv_out")
        for name in names:
            x = F.leaky_relu(convolve(x, part[name], name), 0.1)
            found.append(x)
        found.append(convolve(x, part["conv_out"], "conv_out"))
        return found

    def period(part, count):
        x = torch.tensor(wave)[:, None]
        x = F.pad(x, (0, -x.shape[2] % count), "reflect")
        x = x.reshape(x.shape[0], 1, -1, count)

        def convolve(x, part, name):
            kernel = torch.tensor(normed(part, False).transpose(3, 2, 0, 1), dtype=torch.float32)
            stride = 3 if name in ("conv_0", "conv_1", "conv_2", "conv_3") else 1
            pad = (1, 0) if name == "conv_out" else (2, 0)
            return F.conv2d(x, kernel, torch.tensor(np.asarray(part["bias"])), (stride, 1), pad)

        return [y.permute(0, 2, 3, 1) for y in layers(x, part, convolve)]

    def scale(part, number):
        x = torch.tensor(wave)[:, None]
        for _ in range(number):
            x = F.avg_pool1d(x, 4, 2, 2)
        strides = {"conv_1": 2, "conv_2": 2, "conv_3": 4, "conv_4": 4}

        def convolve(x, part, name):
            kernel = normed(part, number == 0).transpose(2, 1, 0)
            groups = x.shape[1] // kernel.shape[1]
            bias = torch.tensor(np.asarray(part["bias"]))
            kernel = torch.tensor(kernel, dtype=torch.float32)
            size = kernel.shape[2] // 2
            return F.conv1d(x, kernel, bias, strides.get(name, 1), size, 1, groups)

        return [y.permute(0, 2, 1) for y in layers(x, part, convolve)]

    theirs = [period(params["period_2"], 2), period(params["period_3"], 3)]
    theirs += [scale(params[f"scale_{i}"], i) for i in range(3)]
    found = network.apply({"params": params}, wave)
    for i, ((_, features), expected) in enumerate(zip(found, theirs)):
        for ours, reference in zip(features, expected, strict=True):
            assert ours.shape == tuple(reference.shape), i
            np.testing.assert_allclose(ours, reference, atol=3e-4 * float(reference.std()))


def test_the_largest_gain():
    """Against the singular value decomposition; its gradient is that of the product u W v."""
    matrix = draw(40, 8) + 3 * draw(40, 1) * draw(1, 8)
    u, s, v = np.linalg.svd(matrix)
    found, gradient = jax.value_and_grad(discriminators.largest_gain)(jnp.asarray(matrix))
    np.testing.assert_allclose(found, s[0], rtol=1e-4)
    np.testing.assert_allclose(gradient, np.outer(u[:, 0], v[0]), atol=1e-2)


def test_adversarial_losses():
    real, fake = [draw(2, 5), draw(2, 3)], [draw(2, 5, seed=1), draw(2, 3, seed=1)]
    expected = sum(((1 - r) ** 2).mean() + (f**2).mean() for r, f in zip(real, fake))
    np.testing.assert_allclose(
        adversarial.least_squares_discriminator(real, fake), expected, rtol=1e-5
    )
    expected = sum(((1 - f) ** 2).mean() for f in fake)
    np.testing.assert_allclose(adversarial.least_squares_generator(fake), expected, rtol=1e-5)
    expected = 2 * sum(np.abs(r - f).mean() for r, f in zip(real, fake))
    np.testing.assert_allclose(adversarial.feature_matching([real], [fake]), expected, rtol=1e-5)
    hinge = 0.5 * (
        F.relu(1 - torch.tensor(real[0])).mean() + F.relu(1 + torch.tensor(fake[0])).mean()
    )
    np.testing.assert_allclose(adversarial.hinge(real[0], fake[0]), hinge, rtol=1e-5)


def test_the_vaes_adaptive_weight():
    """The ratio of both terms' gradients at the last kernel, taken the long way."""
    found, _ = made("vae", start=0)
    settings = vae.Autoencoder(TINY, start=0, patch_width=8)
    params = initial(found).params
    keys = jax.random.split(jax.random.key(3), 4)
    data = batch(4)
    _, metrics = vae.generator_loss(settings)(params, {}, data, keys, 0)

    def term(kernel, which):
        last = params["vae"]["decoder"]["conv_out"] | {"kernel": kernel}
        decoder = params["vae"]["decoder"] | {"conv_out": last}
        changed = params | {"vae": params["vae"] | {"decoder": decoder}}
        mel, recon, *_ = vae.reconstructed(settings, changed, data, keys)
        if which == "error":
            return jnp.abs(mel - recon).sum((1, 2)).mean()
        network = {"params": params["discriminator"]}
        return -settings.discriminator.apply(network, recon).mean()

    kernel = params["vae"]["decoder"]["conv_out"]["kernel"]
    norms = [float(jnp.linalg.norm(jax.grad(term)(kernel, w))) for w in ("error", "judged")]
    expected = 0.5 * min(1e4, norms[0] / (norms[1] + 1e-4))
    np.testing.assert_allclose(metrics["adversarial"], expected, rtol=1e-3)


def test_nothing_is_judged_before_the_start():
    settings = vae.Autoencoder(TINY, start=5, patch_width=8)
    found, _ = made("vae")
    params = initial(found).params
    keys, data = jax.random.split(jax.random.key(3), 4), batch(4)
    run = vae.generator_loss(settings)
    early, late = (run(params, {}, data, keys, step)[0] for step in (4, 5))
    plain = vae.Autoencoder(TINY, adversarial=0.0)
    expected = vae.generator_loss(plain)(params, {}, data, keys, 0)[0]
    np.testing.assert_allclose(early, expected, rtol=1e-6)
    assert abs(float(late - early)) > 0
    silent, _ = vae.discriminator_loss(settings)(params, {}, data, keys, 4)
    assert float(silent) == 0


def test_masked_patches():
    """Only hidden patches count, each normalised; the mask hides what it should."""
    config = AudioMAEConfig(frames=128, width=32, depth=1, heads=2, hidden=48)
    settings = audiomae.Masked(config, share=0.8)
    assert settings.kept == 12
    order, inverse = audiomae.shuffled(jax.random.split(jax.random.key(0), 5), 64)
    for row, back in zip(np.asarray(order), np.asarray(inverse)):
        np.testing.assert_array_equal(row[back], np.arange(64))
        assert (back < settings.kept).sum() == 12
        assert set(np.flatnonzero(back < 12)) == set(row[:12].tolist())
    bank = draw(2, 128, 128)
    patches = np.asarray(patches_of(bank, config))
    np.testing.assert_array_equal(patches[1, 8 * 3 + 5], bank[1, 48:64, 80:96].reshape(-1))


def test_hidden_patches_do_not_reach_the_encoder():
    found, _ = made("audiomae")
    params = initial(found).params
    from audioldm2_jax.models.audiomae import AudioMAE

    config = TINY.audiomae
    bank, seen = draw(1, config.frames, config.bins), jnp.array([[5, 17, 40]])
    run = jax.jit(
        lambda b: AudioMAE(config).apply(
            {"params": params["audiomae"]}, b, seen, method="encode_seen"
        )
    )
    changed = bank.copy()
    changed[:, :16, :16] += 1.0  # patch 0
    np.testing.assert_array_equal(run(bank), run(changed))
    changed[:, :16, 80:96] += 1.0  # patch 5
    assert float(jnp.abs(run(bank) - run(changed)).max()) > 1e-3


def test_positions_are_maes():
    """Each row's halves are the waves of its two coordinates, exchanged as in AudioMAE's code."""
    config = AudioMAEConfig()
    table = np.asarray(fixed_positions(None, 513, 768, config))[0]
    assert not table[0].any()
    frequencies = 1.0 / 10000 ** (np.arange(192) / 192.0)
    for index in (1, 70, 512):
        row, column = divmod(index - 1, 64)
        expected = [np.sin(column * frequencies), np.cos(column * frequencies)]
        expected += [np.sin(row * frequencies), np.cos(row * frequencies)]
        np.testing.assert_allclose(table[index], np.concatenate(expected), atol=1e-5)


def test_teacher_forced_on_its_own_roll_out_is_the_roll_out():
    """With padded texts of different length."""
    found, _ = made("sequence")
    params = initial(found).params
    settings = sequence.Sequence(TINY)
    width = TINY.gpt2.width
    states = draw(3, 12, width)
    lengths = jnp.array([4, 12 - 5, 2])
    kept = jnp.concatenate(
        [jnp.ones((3, 4), bool), jnp.arange(7) < lengths[:, None], jnp.ones((3, 1), bool)], 1
    )
    positions = sequence_positions(7, lengths)
    model = GPT2(TINY.gpt2)
    rolled = roll_out(model, params["gpt2"], states, kept, positions, tokens=6)
    forced = sequence.forced(settings, params, jnp.asarray(states), kept, lengths, rolled)
    np.testing.assert_allclose(forced, rolled, atol=1e-5)


@pytest.mark.parametrize("train", [False, True])
def test_tagger(train):
    """PANNs' blocks, written out; in training the statistics are the batch's."""
    config = TaggerConfig(channels=(4, 8), width=6, classes=3)
    network, mel = Tagger(config), 20 * draw(3, 32, 64) - 30
    params = randomised(network.init(jax.random.key(0), mel)["params"])

    def norm(x, name):
        names = ("mean", "variance", "scale", "bias")
        mean, variance, scale, bias = (torch.tensor(np.asarray(params[name][k])) for k in names)
        return F.batch_norm(x, mean.clone(), variance.clone(), scale, bias, train, 0.1, 1e-5)

    x = norm(torch.tensor(mel).permute(0, 2, 1)[..., None], "norm_mel")[..., 0].permute(0, 2, 1)
    x = x[:, None]
    for i in range(2):
        for j in range(2):
            kernel = np.asarray(params[f"blocks_{i}_conv_{j}"]).transpose(3, 2, 0, 1)
            x = F.relu(norm(F.conv2d(x, torch.tensor(kernel), padding=1), f"blocks_{i}_norm_{j}"))
        x = F.avg_pool2d(x, 2) if i == 0 else x
    x = x.mean(3)
    x = x.max(2).values + x.mean(2)

    def linear(x, name):
        part = {k: torch.tensor(np.asarray(v)) for k, v in params[name].items()}
        return x @ part["kernel"] + part["bias"]

    embedding = F.relu(linear(x, "embed"))
    logits, found, statistics = network.apply({"params": params}, mel, train)
    np.testing.assert_allclose(found, embedding, atol=1e-4)
    np.testing.assert_allclose(logits, linear(embedding, "classes"), atol=1e-4)
    assert bool(statistics["blocks_1_norm_1"]) == train


def test_weight_norm_is_its_own_inverse():
    found, _ = made("vocoder")
    params = initial(found).params["vocoder"]
    plain = weight_norm.fold(params)
    again = weight_norm.fold(weight_norm.split(plain))
    for path, value in tree.flatten(plain).items():
        np.testing.assert_allclose(tree.flatten(again)[path], value, atol=1e-6, err_msg=path)
    layer = torch.nn.ConvTranspose1d(6, 4, 5)
    torch.nn.utils.parametrizations.weight_norm(layer)
    kernel = layer.weight.detach().numpy().transpose(2, 0, 1)
    ours = weight_norm.split({"upsample_0": {"kernel": jnp.asarray(kernel)}})
    theirs = layer.parametrizations.weight.original0.detach().numpy().reshape(-1)
    np.testing.assert_allclose(ours["upsample_0"]["length"].reshape(-1), theirs, rtol=1e-5)
