"""Networks that only training needs, against independent formulations in torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

from audioldm2_jax import tree
from audioldm2_jax.checkpoints import lpips, single
from audioldm2_jax.checkpoints.convert import from_params
from audioldm2_jax.checkpoints.parts import PARTS
from audioldm2_jax.errors import InputError
from audioldm2_jax.models import discriminators
from audioldm2_jax.models.audiomae import fixed_positions
from audioldm2_jax.models.audiomae_decoder import LocalBlock
from audioldm2_jax.models.lpips import LPIPS
from audioldm2_jax.models.lpips import SCALE as LPIPS_SCALE
from audioldm2_jax.models.lpips import SHIFT as LPIPS_SHIFT
from audioldm2_jax.models.lpips import STAGES as LPIPS_STAGES
from audioldm2_jax.models.panns import Cnn14
from audioldm2_jax.presets import AudioMAEConfig, PANNsConfig
from audioldm2_jax.training import weight_norm
from tests.training.stages_of import TINY, build_spec, initial
from tests.training.values import draw, randomised


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


@pytest.mark.slow
def test_wave_discriminators():
    """HiFi-GAN's, written out with torch's convolutions, pooling and weight norm."""
    network = discriminators.WaveDiscriminators((2, 3), (4, 8, 8, 8, 8), 8, 3)
    wave = draw(2, 2048)
    params = randomised(network.init(jax.random.key(0), wave)["params"])

    def normed(part, spectral):
        kernel = np.asarray(part["kernel"], np.float64)
        flat = kernel.reshape(-1, kernel.shape[-1])
        if spectral:
            return kernel / float(discriminators.spectral_norm(jnp.asarray(flat, jnp.float32)))
        return kernel * np.asarray(part["scale"]) / np.sqrt((flat**2).sum(0))

    def layers(x, part, convolve):
        results, names = [], sorted(n for n in part if n != "conv_out")
        for name in names:
            x = F.leaky_relu(convolve(x, part[name], name), 0.1)
            results.append(x)
        results.append(convolve(x, part["conv_out"], "conv_out"))
        return results

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
    results = network.apply({"params": params}, wave)
    for i, ((_, features), expected) in enumerate(zip(results, theirs)):
        for ours, reference in zip(features, expected, strict=True):
            assert ours.shape == tuple(reference.shape), i
            np.testing.assert_allclose(ours, reference, atol=3e-4 * float(reference.std()))


def test_the_largest_gain():
    """Against the singular value decomposition; its gradient is that of the product u W v."""
    matrix = draw(40, 8) + 3 * draw(40, 1) * draw(1, 8)
    u, s, v = np.linalg.svd(matrix)
    norm, gradient = jax.value_and_grad(discriminators.spectral_norm)(jnp.asarray(matrix))
    np.testing.assert_allclose(norm, s[0], rtol=1e-4)
    np.testing.assert_allclose(gradient, np.outer(u[:, 0], v[0]), atol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_lpips(suffix, tmp_path):
    """VGG16 and LPIPS' layers written out, from files named as the published ones."""
    generator = torch.Generator().manual_seed(0)
    state, x, before, distances = {}, torch.tensor(draw(4, 64, 32)), 3, []
    shift, scale = torch.tensor(LPIPS_SHIFT), torch.tensor(LPIPS_SCALE)
    x = ((x[..., None] - shift) / scale).permute(0, 3, 1, 2)
    places = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
    for i, (widths, stage) in enumerate(zip(LPIPS_STAGES, places)):
        x = F.max_pool2d(x, 2) if i else x
        for width, place in zip(widths, stage):
            kernel = torch.randn(width, before, 3, 3, generator=generator) * (before * 4.5) ** -0.5
            bias = 0.1 * torch.randn(width, generator=generator)
            state |= {f"features.{place}.weight": kernel, f"features.{place}.bias": bias}
            x, before = F.relu(F.conv2d(x, kernel, bias, padding=1)), width
        state[f"lin{i}.model.1.weight"] = torch.rand(1, before, 1, 1, generator=generator)
        one, two = F.normalize(x, eps=1e-10).chunk(2)
        lin = state[f"lin{i}.model.1.weight"]
        distances.append(F.conv2d((one - two) ** 2, lin).mean((1, 2, 3)))
    file = tmp_path / f"weights.{suffix}"
    if suffix == "pth":
        torch.save(state, file)
    else:
        safetensors.torch.save_file(state, file)
    params = lpips.load(str(file))
    images = draw(4, 64, 32)
    ours = LPIPS().apply({"params": params}, images[:2], images[2:])
    np.testing.assert_allclose(ours, sum(distances), rtol=1e-4)
    del state["lin3.model.1.weight"]
    torch.save(state, tmp_path / "part.pth")
    with pytest.raises(InputError, match="lack lin3.model.1.weight"):
        lpips.load(str(tmp_path / "part.pth"))


def test_hidden_patches_do_not_reach_the_encoder():
    spec, _ = build_spec("audiomae")
    params = initial(spec).params
    from audioldm2_jax.models.audiomae import AudioMAE

    config = TINY.audiomae
    bank, visible = draw(1, config.frames, config.bins), jnp.array([[5, 17, 40]])
    run = jax.jit(
        lambda b: AudioMAE(config).apply(
            {"params": params["audiomae"]}, b, visible, method="encode_seen"
        )
    )
    changed = bank.copy()
    changed[:, :16, :16] += 1.0  # patch 0
    np.testing.assert_array_equal(run(bank), run(changed))
    changed[:, :16, 80:96] += 1.0  # patch 5
    assert float(jnp.abs(run(bank) - run(changed)).max()) > 1e-3


@pytest.mark.parametrize("shift", [0, 2])
def test_local_blocks(shift):
    """A Swin block of the second version with its norms behind, written out window by window."""
    block, x = LocalBlock(heads=2, shift=shift), draw(2, 8, 8, 12)
    params = randomised(block.init(jax.random.key(0), x)["params"])
    part = {
        k: {n: torch.tensor(np.asarray(v)) for n, v in p.items()}
        for k, p in params.items()
        if k != "scale" and k != "mlp"
    }
    mlp = {
        k: {n: torch.tensor(np.asarray(v)) for n, v in p.items()} for k, p in params["mlp"].items()
    }

    def linear(x, p):
        return x @ p["kernel"] + p["bias"]

    def norm(x, p):
        return F.layer_norm(x, x.shape[-1:], p["scale"], p["bias"], 1e-6)

    image = torch.tensor(x).roll(-shift, 1)
    out = torch.zeros_like(image)
    for top in (0, 4):
        for left in (0, 4):
            tokens = image[:, top : top + 4, left : left + 4].reshape(2, 16, 12)
            q, k, v = (
                linear(tokens, part[n]).view(2, 16, 2, 6).transpose(1, 2)
                for n in ("query", "key", "value")
            )
            scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(2, 3)
            scores = scores * torch.tensor(np.asarray(params["scale"])).exp().view(1, 2, 1, 1)
            for i in range(16):
                for j in range(16):
                    gap = torch.tensor([i // 4 - j // 4, i % 4 - j % 4], dtype=torch.float32)
                    gap = gap.sign() * (1 + gap.abs()).log()
                    bias = linear(F.relu(linear(gap, part["distance_up"])), part["distance_down"])
                    # After the roll the last rows of time are the first ones.
                    wrapped = shift and top == 4 and (i // 4 >= 2) != (j // 4 >= 2)
                    scores[:, :, i, j] += bias - (100 if wrapped else 0)
            mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(2, 16, 12)
            out[:, top : top + 4, left : left + 4] = linear(mixed, part["out"]).view(2, 4, 4, 12)
    y = torch.tensor(x) + norm(out.roll(shift, 1), part["norm_attention"])
    y = y + norm(linear(F.gelu(linear(y, mlp["up"])), mlp["down"]), part["norm_mlp"])
    np.testing.assert_allclose(block.apply({"params": params}, x), y, atol=1e-4 * float(y.std()))
    fresh = block.init(jax.random.key(0), x)
    np.testing.assert_array_equal(block.apply(fresh, x), x)


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


@pytest.mark.parametrize("train", [False, True])
def test_cnn14(train):
    """PANNs' blocks, written out; in training the statistics are the batch's."""
    config = PANNsConfig(channels=(4, 8), width=6, classes=3)
    network, mel = Cnn14(config), 20 * draw(3, 32, 64) - 30
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
    logits, output, statistics = network.apply({"params": params}, mel, train)
    np.testing.assert_allclose(output, embedding, atol=1e-4)
    np.testing.assert_allclose(logits, linear(embedding, "classes"), atol=1e-4)
    assert bool(statistics["blocks_1_norm_1"]) == train


@pytest.mark.slow
def test_weight_norm_is_its_own_inverse():
    spec, _ = build_spec("vocoder")
    params = initial(spec).params["vocoder"]
    plain = weight_norm.merge(params)
    again = weight_norm.merge(weight_norm.unmerge(plain))
    for path, value in tree.flatten(plain).items():
        np.testing.assert_allclose(tree.flatten(again)[path], value, atol=1e-6, err_msg=path)
    layer = torch.nn.ConvTranspose1d(6, 4, 5)
    torch.nn.utils.parametrizations.weight_norm(layer)
    kernel = layer.weight.detach().numpy().transpose(2, 0, 1)
    ours = weight_norm.unmerge({"upsample_0": {"kernel": jnp.asarray(kernel)}})
    theirs = layer.parametrizations.weight.original0.detach().numpy().reshape(-1)
    np.testing.assert_allclose(ours["upsample_0"]["length"].reshape(-1), theirs, rtol=1e-5)


def test_panns_files(tmp_path):
    """A file of the published form: names, nesting, constants; and the same folder again."""
    config = PANNsConfig(channels=(4, 8), width=6, classes=3)
    params = randomised(Cnn14(config).init(jax.random.key(0), draw(1, 16, 64))["params"])
    state = from_params(params, PARTS["panns"].table(config))
    shapes = {name: value.shape for name, value in state.items()}
    assert shapes["conv_block2.conv1.weight"] == (8, 4, 3, 3)
    assert shapes["bn0.running_var"] == (64,) and shapes["fc_audioset.weight"] == (3, 6)
    extra = {"bn0.num_batches_tracked": 7}
    state = {k: torch.tensor(np.array(v)) for k, v in (state | extra).items()}
    torch.save({"iteration": 5, "model": state}, tmp_path / "Cnn14.pth")
    loaded = single.load(tmp_path / "Cnn14.pth")
    assert loaded.config == config
    jax.tree.map(np.testing.assert_array_equal, loaded.params, params)
    single.save(loaded, tmp_path / "folder")
    again = single.load(tmp_path / "folder")
    assert again.config == config
    jax.tree.map(np.testing.assert_array_equal, again.params, params)
    del state["fc_audioset.weight"]
    torch.save({"model": state}, tmp_path / "part.pth")
    with pytest.raises(InputError, match=r"part.pth: not a Cnn14 of PANNs"):
        single.load(tmp_path / "part.pth")
