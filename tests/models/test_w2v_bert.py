"""w2v-BERT 2.0 agrees with transformers: its front end, and every hidden state."""

import jax
import numpy as np
import pytest
import torch
from reference import assert_close, healthy, state
from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2BertConfig, Wav2Vec2BertModel

from audioldm2_jax.checkpoints.convert import from_params, to_params
from audioldm2_jax.checkpoints.parts import PARTS, PartFiles
from audioldm2_jax.checkpoints.parts import w2v_bert as part
from audioldm2_jax.errors import InputError
from audioldm2_jax.features.w2v_bert import stacked_filter_banks
from audioldm2_jax.models.hubert import frame_counts

SMALL = dict(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=48,
    conv_depthwise_kernel_size=5,
    left_max_position_embeddings=6,
    right_max_position_embeddings=2,
)
# Lengths whose last filter bank frame has a partner, and has none.
LENGTHS = np.array([6400, 4960])
RNG = np.random.default_rng(0)
WAVE = (0.1 * RNG.standard_normal((2, 6400)) * np.linspace(0.1, 1, 6400)).astype(np.float32)


@pytest.fixture(scope="module")
def theirs():
    """(module, input features of each clip, hidden states of each clip)."""
    module = healthy(Wav2Vec2BertModel(Wav2Vec2BertConfig(**SMALL)))
    front, features, states = SeamlessM4TFeatureExtractor(), [], []
    for wave, length in zip(WAVE, LENGTHS):
        inputs = front(wave[:length], sampling_rate=16000, return_tensors="pt")
        mask = inputs.attention_mask
        with torch.no_grad():
            output = module(**inputs, output_hidden_states=True)
        count = int(mask.sum())
        features.append(inputs.input_features[:, :count])
        states.append([x[:, :count] for x in (*output.hidden_states, output.last_hidden_state)])
    return module, features, states


def test_front_end(theirs):
    """The features of a clip alone, and of one that is padded."""
    ours = jax.jit(lambda wave, n: stacked_filter_banks(wave, 80, 2, n))(WAVE, LENGTHS)
    for row, features in enumerate(theirs[1]):
        assert_close(ours[row : row + 1, : features.shape[1]], features)
    whole = stacked_filter_banks(WAVE[:1], 80, 2)
    assert_close(whole, theirs[1][0])


def test_hidden_states(theirs):
    """Every layer of clips in one batch, against each clip alone."""
    module, _, states = theirs
    config = part.read_config(PartFiles(module.config.to_dict()))
    model, table = PARTS["w2v_bert"].model(config), part.TABLE
    tensors = state(module)
    params = to_params(tensors, table, PARTS["w2v_bert"].shapes(config))

    @jax.jit
    def run(wave, lengths):
        return [model.apply({"params": params}, wave, lengths, layer) for layer in (0, 1, 2, None)]

    ours = run(WAVE, LENGTHS)
    for row, layers in enumerate(states):
        for x, y in zip(ours, layers):
            assert y.shape[1] == frame_counts(config, LENGTHS[row])
            assert_close(x[row : row + 1, : y.shape[1]], y)
    back = from_params(params, table, config)
    assert back.keys() == tensors.keys()
    assert all(np.array_equal(back[name], tensors[name]) for name in tensors)
    written = part.write_config(config)
    assert part.read_config(written) == config
    Wav2Vec2BertModel(Wav2Vec2BertConfig(**written.content)).load_state_dict(
        {name: torch.tensor(value) for name, value in back.items()}
    )


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("position_embeddings_type", "rotary"),
        ("add_adapter", True),
        ("feature_projection_input_dim", 80),
        ("conv_depthwise_kernel_size", 4),
    ],
)
def test_refused(entry, value):
    with pytest.raises(InputError, match=entry):
        part.read_config(PartFiles(SMALL | {entry: value}))
