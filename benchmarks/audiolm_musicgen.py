"""Rows of `audiolm.py`: MusicGen's decoding against transformers' `generate` with its static cache.

The language model is of MusicGen-small's size. Its text encoder and codec are tiny, so that nearly
all of the time is decoding. Prompts are guided, and tokens drawn from the likeliest 250.
"""

from __future__ import annotations

import functools
import tempfile
import warnings

from audiolm_row import Row

PROMPT = "80s pop track with bassy drums and synth"
# {size: (settings of the language model, frames of a clip)}
SIZES = {
    "full": ({}, 50),
    "tiny": ({"hidden_size": 32, "num_hidden_layers": 2, "ffn_dim": 64}, 5),
}


def _theirs(size: str):
    """transformers' model with random weights."""
    import torch
    from transformers import (
        EncodecConfig,
        MusicgenConfig,
        MusicgenDecoderConfig,
        MusicgenForConditionalGeneration,
        T5Config,
    )

    text = T5Config(vocab_size=300, d_model=768, d_ff=64, num_layers=1, feed_forward_proj="relu")
    codec = EncodecConfig(
        sampling_rate=3200,
        num_filters=4,
        upsampling_ratios=[8, 4, 2],
        codebook_size=2048,
        hidden_size=16,
        codebook_dim=16,
        target_bandwidths=[2.2],
        use_causal_conv=False,
        num_lstm_layers=1,
        use_conv_shortcut=False,
    )
    decoder = MusicgenDecoderConfig(**SIZES[size][0])
    config = MusicgenConfig(
        text_encoder=text.to_dict(), audio_encoder=codec.to_dict(), decoder=decoder.to_dict()
    )
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MusicgenForConditionalGeneration(config).eval()
    settings = model.generation_config
    settings.pad_token_id = settings.bos_token_id = settings.decoder_start_token_id = 2048
    return model


@functools.cache
def _both(size: str):
    """(our pipeline, their model, their tokenizer) of the same weights."""
    from audioldm2_jax.checkpoints.tokenizer_files import write_tokenizer
    from audioldm2_jax.data.corpus.tokenizer_training import train_unigram
    from audioldm2_jax.pipelines.musicgen import MusicGen

    theirs, tokenizer = _theirs(size), train_unigram([PROMPT] * 8, 300)
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        write_tokenizer(tokenizer, folder)
        ours = MusicGen.from_pretrained(folder, dtype="fp32", progress=False)
    return ours, theirs, tokenizer


def _decoding(batch: int, size: str) -> Row:
    """`batch` clips of the same number of frames."""
    from transformers import CompileConfig

    ours, theirs, tokenizer = _both(size)
    frames, prompts = SIZES[size][1], [PROMPT] * batch
    levels = ours.config.musicgen_lm.levels
    inputs = tokenizer(prompts, padding=True, return_tensors="pt")

    def our_call():
        seconds = frames / ours.config.frame_rate
        return ours(prompts, seconds=seconds, progress=False)

    def their_call(**cache):
        return theirs.generate(
            **inputs,
            do_sample=True,
            top_k=250,
            guidance_scale=3.0,
            # The delay of the last level.
            max_new_tokens=frames + levels - 1,
            **cache,
        )

    compiled = CompileConfig(fullgraph=False)
    compiled._compile_all_devices = True
    return Row(
        runs={
            "ours": our_call,
            "theirs": functools.partial(their_call, cache_implementation="static"),
            "theirs_compiled": functools.partial(
                their_call, cache_implementation="static", compile_config=compiled
            ),
            "theirs_default": their_call,
        },
        goal=0.5,
        work=batch * levels * frames,
        unit="tokens/s",
        note="theirs: with the static cache; theirs_compiled: also by torch.compile, which "
        "transformers leaves out on a CPU; theirs_default: with a cache that grows",
    )


ROWS = {
    f"MusicGen-small decoding, batch {batch}": functools.partial(_decoding, batch)
    for batch in (1, 8)
}
