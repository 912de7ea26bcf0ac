"""AudioLDM 2: the U-Net attends to the language of audio (LOA) and to the text's states."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from audioldm2_jax.diffusion.guidance import interleave
from audioldm2_jax.encoders.loa import LMInputs, generate_loa, lm_inputs
from audioldm2_jax.encoders.text import phoneme_states, t5_states
from audioldm2_jax.pipelines.programs.shared import Conditioning, clap_features
from audioldm2_jax.pipelines.text import Texts
from audioldm2_jax.presets import ModelConfig


def encode_texts(config: ModelConfig, dtype: Any, params: dict, texts: Texts) -> Conditioning:
    """The U-Net's conditioning of R texts: CLAP and T5 (of speech, phonemes) -> GPT-2 -> LOA."""
    features = clap_features(config, dtype, params, texts)
    if config.phonemes:
        part, text_config, encode = params["phonemes"], config.phonemes, phoneme_states
    else:
        part, text_config, encode = params["t5"], config.t5, t5_states
    states = encode(part, texts.text, texts.text_mask, text_config, dtype)
    inputs = lm_inputs(
        params["projection"],
        features,
        states,
        texts.text_mask,
        texts.positions,
        config.projection,
        dtype,
    )
    loa, loa_mask = _language_of_audio(config, dtype, params["gpt2"], texts, inputs)
    # The U-Net of speech was trained to see the phonemes' padding.
    text_mask = None if config.phonemes else texts.text_mask
    return Conditioning((loa, states), (loa_mask, text_mask), None, features)


def _language_of_audio(config, dtype, gpt2: dict, texts: Texts, inputs: LMInputs):
    """(LOA [R, K, D], its mask [R, K] or None): GPT-2's, or of the prompts what is given."""
    if texts.loa is None:
        loa = generate_loa(gpt2, inputs, config.gpt2, dtype)
        return jnp.where(texts.zero_loa[:, None, None], 0, loa), None
    cond = texts.loa.astype(dtype)
    if not texts.guided:
        return cond, None
    uncond = generate_loa(gpt2, jax.tree.map(lambda x: x[::2], inputs), config.gpt2, dtype)
    uncond = jnp.where(texts.zero_loa[::2, None, None], 0, uncond)
    return _interleave_lengths(uncond, cond)


def _interleave_lengths(uncond, cond):
    """Pairs of LOAs whose lengths may differ, and the mask of the longer length (None: equal)."""
    lengths = uncond.shape[1], cond.shape[1]
    if lengths[0] == lengths[1]:
        return interleave(uncond, cond), None
    longest, clips = max(lengths), cond.shape[0]
    padded = [jnp.pad(x, ((0, 0), (0, longest - x.shape[1]), (0, 0))) for x in (uncond, cond)]
    masks = [jnp.broadcast_to(jnp.arange(longest) < n, (clips, longest)) for n in lengths]
    return interleave(*padded), interleave(*masks)
