"""Layers of codecs agree with transformers' and torch's; steps give what the whole pass gives."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from reference import assert_close, healthy
from transformers.models.dac.modeling_dac import Snake1d
from transformers.models.encodec.modeling_encodec import EncodecConv1d
from transformers.models.mimi.modeling_mimi import MimiConv1d, MimiConvTranspose1d

from audioldm2_jax.models.codecs.layers import Conv1d, ConvTranspose1d, Snake, elu, sine_squared
from audioldm2_jax.models.kernels.prepacked import prepack_conv
from audioldm2_jax.models.lstm import LSTM


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def options(causal, mode="constant", norm="weight_norm", trim=1.0):
    return SimpleNamespace(
        use_causal_conv=causal, pad_mode=mode, norm_type=norm, trim_right_ratio=trim
    )


def of_torch(module, x):
    return module(torch.tensor(x).swapaxes(1, 2)).swapaxes(1, 2)


def run(layer, params, x):
    return jax.jit(layer.apply)({"params": params}, x)


def conv_params(module, axes=(2, 1, 0)):
    state = {name: p.detach().numpy() for name, p in module.named_parameters()}
    params = {"kernel": module.weight.detach().numpy().transpose(axes)}
    return params | ({"bias": state["bias"]} if "bias" in state else {})


@pytest.mark.parametrize(
    "frames, size, stride, dilation, causal, mode",
    [
        (40, 7, 1, 3, True, "constant"),
        (40, 7, 1, 1, False, "reflect"),
        (41, 10, 5, 1, False, "constant"),
        (43, 8, 4, 1, True, "reflect"),
        (21, 4, 2, 1, True, "replicate"),
        (3, 7, 1, 1, True, "reflect"),
    ],
)
def test_convolution(frames, size, stride, dilation, causal, mode):
    module = MimiConv1d(options(causal, mode), 5, 6, size, stride, dilation)
    x, ours = draw(2, frames, 5), {"constant": "zero", "replicate": "edge"}.get(mode, mode)
    layer = Conv1d(6, (size,), (stride,), dilation=(dilation,), causal=causal, mode=ours)
    assert_close(run(layer, conv_params(module.conv), x), of_torch(module, x))


def test_convolution_and_its_norm():
    module = healthy(EncodecConv1d(options(False, "reflect", "time_group_norm"), 5, 6, 7))
    norm = {"scale": module.norm.weight.detach().numpy(), "bias": module.norm.bias.detach().numpy()}
    params, x = conv_params(module.conv) | {"norm": norm}, draw(2, 30, 5)
    layer = Conv1d(6, (7,), causal=False, mode="reflect", group_norm=True)
    assert_close(run(layer, params, x), of_torch(module, x))


@pytest.mark.parametrize(
    "size, stride, causal, trim, depthwise",
    [(10, 5, True, 1.0, False), (8, 4, True, 0.3, False), (10, 5, False, 1.0, False),
     (4, 2, True, 1.0, True)],
)  # fmt: skip
def test_transposed_convolution(size, stride, causal, trim, depthwise):
    groups, out = (5, 5) if depthwise else (1, 6)
    setting = options(causal, trim=trim)
    module = MimiConvTranspose1d(setting, 5, out, size, stride, groups, bias=not depthwise)
    params, x = conv_params(module.conv, (2, 0, 1)), draw(2, 9, 5)
    if depthwise:
        params["kernel"] = params["kernel"][..., 0]
    layer = ConvTranspose1d(out, size, stride, causal, trim, depthwise, not depthwise)
    assert_close(run(layer, params, x), of_torch(module, x))


def test_lstm():
    module, x = torch.nn.LSTM(5, 6, 2, batch_first=True), draw(2, 11, 5)
    state = {name: p.detach().numpy() for name, p in module.named_parameters()}
    params = {}
    for i in range(2):
        params[f"layers_{i}_state_kernel"] = state[f"weight_hh_l{i}"].T
        params[f"layers_{i}_state_bias"] = state[f"bias_hh_l{i}"]
        inputs = {"kernel": state[f"weight_ih_l{i}"].T, "bias": state[f"bias_ih_l{i}"]}
        params[f"layers_{i}_input"] = inputs
    assert_close(run(LSTM(6), params, x), module(torch.tensor(x))[0])


def test_activations():
    x, alpha = 3 * draw(2, 9, 4), draw(4, seed=1)
    assert_close(elu(jnp.array(x)), torch.nn.functional.elu(torch.tensor(x)))
    module = Snake1d(4)
    module.alpha.data = torch.tensor(alpha)[None, :, None]
    assert_close(run(Snake(), {"alpha": alpha}, x), of_torch(module, x))
    wide = np.concatenate([np.linspace(-7, 7, 1000), 300 * draw(1000)]).astype(np.float32)
    exact = np.sin(wide.astype(np.float64)) ** 2
    np.testing.assert_allclose(jax.jit(sine_squared)(wide), exact, atol=2e-7)


@pytest.mark.parametrize(
    "layer",
    [
        Conv1d(6, (7,), dilation=(3,)),
        Conv1d(6, (10,), (5,)),
        Conv1d(6, (1,)),
        ConvTranspose1d(6, 10, 5),
        ConvTranspose1d(5, 4, 2, depthwise=True),
        LSTM(6),
    ],
)
def test_steps_give_what_the_whole_pass_gives(layer):
    @jax.jit
    def passes(x):
        params = layer.init(jax.random.key(0), x)
        # A bias, which a step must not add twice.
        params = jax.tree.map(lambda p: p + 0.1, params)
        state, outputs = layer.initial(2, 5), []
        for part in jnp.split(x, (5, 20), 1):
            y, state = layer.apply(params, part, state, method="step")
            outputs.append(y)
        return jnp.concatenate(outputs, 1), layer.apply(params, x)

    assert_close(*passes(draw(2, 30, 5)))


def test_prepacked_kernels_pad_as_plain_ones():
    x, kernel = draw(1, 33, 256), draw(7, 256, 256, seed=1) / 42
    layer = Conv1d(256, (7,), dilation=(3,))
    params = {"kernel": kernel, "bias": draw(256, seed=2)}
    fast = {"fast": prepack_conv(kernel), "bias": params["bias"]}
    assert_close(run(layer, fast, x), run(layer, params, x))
