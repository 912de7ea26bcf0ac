"""How published weights are read where the authors' code and diffusers differ."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Convention:
    """How published weights are read where the authors' code and diffusers differ.

    heads_from_width: heads of as many channels as in training (32; 64 in AudioLDM's L) at every
        level, against the config's number.
    zero_loa: the unconditional LOA is zeros when no negative prompt is given.
    own_positions: GPT-2 counts positions over a prompt's own tokens, as if it came alone, against
        the longest prompt of the batch.
    cut_negative: negative texts are cut to the longest prompt's number of tokens.
    text_eps: epsilon of the CLAP text tower's layer norms; None keeps the config's.
    own_symbols: phonemes are numbered by the table of the training, where the embedding has its 183
        rows, against the folder's tokenizer.
    whole_grid: a duration is int(seconds * 25.6) latent frames and the waveform is not cut, against
        a grid rounded up and a waveform cut to the asked length.
    mended_phases: Griffin-Lim mends a vocoder's phases where its description asks for it (the
        embedded models'), which is ours alone.
    """

    name: str
    heads_from_width: bool
    zero_loa: bool
    own_positions: bool
    cut_negative: bool
    text_eps: float | None
    own_symbols: bool
    whole_grid: bool
    mended_phases: bool


CONVENTIONS = {
    "authors": Convention("authors", True, True, True, False, 1e-5, True, True, True),
    "diffusers": Convention("diffusers", False, False, False, True, None, False, False, False),
}
