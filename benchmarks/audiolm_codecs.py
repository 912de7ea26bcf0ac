"""EnCodec's and DAC's encoding and decoding of 10 s, for `audiolm.py`: against transformers'."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import torch
import transformers
from audiolm_row import Row

from audioldm2_jax.checkpoints.convert import from_params
from audioldm2_jax.checkpoints.init import random_params
from audioldm2_jax.checkpoints.parts import PARTS
from audioldm2_jax.checkpoints.single import Single
from audioldm2_jax.encoders.codec import Codec
from audioldm2_jax.presets import ENCODEC, DACConfig

CONFIGS = {"encodec": ENCODEC["encodec_24khz"], "dac": DACConfig()}
SECONDS = {"full": 10, "tiny": 1}
TINY = {
    "encodec": {"filters": 4, "width": 16, "bandwidths": (1.5,)},
    "dac": {"width": 4, "decoder_width": 32, "latent": 64, "levels": 2},
}


def reference(name: str, config, params) -> torch.nn.Module:
    """transformers' model with our weights."""
    part = PARTS[name]
    written = part.write(config)
    classes = {"encodec": "EncodecConfig", "dac": "DacConfig"}
    module = getattr(transformers, written.kind)(
        getattr(transformers, classes[name])(**written.content)
    )
    state = from_params(params, part.table(config), config)
    module.load_state_dict({n: torch.tensor(np.asarray(x)) for n, x in state.items()})
    return module.eval()


def coded(name: str, batch: int, size: str) -> Row:
    """All levels: the waveform to codes, and the codes to a waveform."""
    config = dataclasses.replace(CONFIGS[name], **TINY[name] if size == "tiny" else {})
    params = random_params(name, config)
    codec, module = Codec(Single(name, config, params)), reference(name, config, params)
    seconds = SECONDS[size]
    wave = np.random.default_rng(0).standard_normal((batch, config.sample_rate * seconds))
    wave = np.asarray(0.1 * wave, np.float32)
    tensor = torch.tensor(wave)[:, None]
    options = {"bandwidth": config.bandwidths[-1]} if name == "encodec" else {}

    def ours():
        return codec.decode(codec.encode(wave))

    def theirs():
        codes = module.encode(tensor, **options).audio_codes
        scales = {"audio_scales": [None]} if name == "encodec" else {}
        return module.decode(audio_codes=codes, **scales).audio_values

    codes = module.encode(tensor, **options).audio_codes.numpy()
    codes = codes.reshape(batch, -1, codes.shape[-1]).swapaxes(1, 2)
    equal = (codec.encode(wave) == codes).mean()
    sound = theirs().numpy().reshape(batch, -1)
    error = np.abs(codec.decode(codes)[:, : sound.shape[1]] - sound).max() / sound.std()
    # Deep random networks of Snakes amplify rounding.
    assert equal > 0.999 and error < 1e-2, (equal, error)
    return Row(
        runs={
            "ours": ours,
            "theirs": theirs,
            "ours_encoding": lambda: codec.encode(wave),
            "theirs_encoding": lambda: module.encode(tensor, **options),
        },
        goal=0.8,
        work=batch * seconds,
        unit="s/s",
        note=f"seconds of sound a second; {equal:.4%} of the codes are equal; of the same codes, "
        f"the largest difference is {error:.1e} of the deviation",
    )


NAMES = {"EnCodec 24 kHz": "encodec", "DAC 16 kHz": "dac"}
ROWS = {
    f"{title}, batch {batch}": functools.partial(coded, name, batch)
    for title, name in NAMES.items()
    for batch in (1, 8)
}
