"""The two readings of published weights: the authors' code and diffusers differ."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Convention:
    """How a published checkpoint is interpreted where the authors' code and diffusers differ.

    A convention acts after a configuration is read; the readers return what the file says.

    heads_from_width: each level of the U-Net has heads of the width used in training (32 channels;
        64 in AudioLDM's L). False keeps the config's number of heads.
    zero_loa: the unconditional LOA is zeros when no negative prompt is given.
    own_positions: GPT-2 numbers positions over a prompt's own tokens. False numbers them over the
        longest prompt of the batch.
    cut_negative: negative prompts are cut to the longest prompt's number of tokens.
    text_eps: epsilon of the layer norms in CLAP's text tower; None keeps the config's.
    own_symbols: phonemes are numbered by the training's symbol table, if the embedding has its 183
        rows. False uses the folder's tokenizer.
    whole_grid: a duration is int(seconds * 25.6) latent frames and the waveform is not cut. False
        rounds the frames up and cuts the waveform to the requested length.
    griffin_lim: a vocoder whose config asks for Griffin-Lim steps runs them. Only our embedded
        models ask for them.
    """

    name: str
    heads_from_width: bool
    zero_loa: bool
    own_positions: bool
    cut_negative: bool
    text_eps: float | None
    own_symbols: bool
    whole_grid: bool
    griffin_lim: bool


AUTHORS = Convention(
    name="authors",
    heads_from_width=True,
    zero_loa=True,
    own_positions=True,
    cut_negative=False,
    text_eps=1e-5,
    own_symbols=True,
    whole_grid=True,
    griffin_lim=True,
)
DIFFUSERS = Convention(
    name="diffusers",
    heads_from_width=False,
    zero_loa=False,
    own_positions=False,
    cut_negative=True,
    text_eps=None,
    own_symbols=False,
    whole_grid=False,
    griffin_lim=False,
)
CONVENTIONS = {convention.name: convention for convention in (AUTHORS, DIFFUSERS)}
