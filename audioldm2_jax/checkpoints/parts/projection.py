"""Projection of CLAP's and the text's features to GPT-2: diffusers' AudioLDM2ProjectionModel."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp

from audioldm2_jax.checkpoints.config_entries import DIFFUSERS_VERSION, ROWS, Entries
from audioldm2_jax.checkpoints.convert import (
    LINEAR,
    PLAIN,
    UNSQUEEZED_TRANSPOSED,
    Rule,
    Table,
)
from audioldm2_jax.checkpoints.parts.base import (
    DIFFUSERS_FILE,
    AuthorsPart,
    Part,
    PartFiles,
    token_ids,
)
from audioldm2_jax.checkpoints.parts.shapes import Shapes
from audioldm2_jax.checkpoints.weights import ArrayReader, Weights
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.loa_projection import LOAProjection
from audioldm2_jax.presets import ProjectionConfig

_POSITIONS = "learnable_positional_embedding"


def read_config(files: PartFiles) -> ProjectionConfig:
    """The configuration of diffusers' projection model. Raises InputError."""
    entries, content = Entries(files.content, files.where), files.content
    # The last name has the reference's own spelling.
    names = ("text_encoder_dim", "text_encoder_1_dim", "langauge_model_dim")
    missing = [name for name in names if name not in content]
    if missing:
        raise InputError(f"{files.where}: {missing[0]} is missing")
    learned = content.get("use_learned_position_embedding")
    if learned is not None and not content.get("max_seq_length"):
        raise InputError(
            f"{files.where}: max_seq_length is missing beside use_learned_position_embedding"
        )
    clap_width, text_width, width = (entries.integer(name, None) for name in names)
    return ProjectionConfig(
        clap_width=clap_width,
        text_width=text_width,
        width=width,
        positions=0 if learned is None else entries.integer("max_seq_length", None, high=ROWS),
    )


def write_config(config: ProjectionConfig) -> PartFiles:
    """The inverse of `read_config`."""
    content = {
        "_class_name": "AudioLDM2ProjectionModel",
        "_diffusers_version": DIFFUSERS_VERSION,
        "text_encoder_dim": config.clap_width,
        "text_encoder_1_dim": config.text_width,
        "langauge_model_dim": config.width,
    }
    if config.positions:
        content |= {"use_learned_position_embedding": True, "max_seq_length": config.positions}
    return PartFiles(content, kind="AudioLDM2ProjectionModel")


TABLE = Table(
    rules=(
        Rule("projection", "clap", LINEAR),
        Rule("projection_1", "text", LINEAR),
        Rule("sos_embed", "clap_start", PLAIN),
        Rule("eos_embed", "clap_end", PLAIN),
        Rule("sos_embed_1", "text_start", PLAIN),
        Rule("eos_embed_1", "text_end", PLAIN),
        Rule(_POSITIONS, "positions", UNSQUEEZED_TRANSPOSED),
    )
)

_STARTS, _ENDS = "start_of_sequence_tokens.weight", "end_of_sequence_tokens.weight"
# {name in the authors' sequence model: name on the hub}
_LINEAR = {
    f"input_sequence_embed_linear.{i}.{kind}": f"projection{suffix}.{kind}"
    for i, suffix in enumerate(("", "_1"))
    for kind in ("weight", "bias")
}


def _gather(parts: Mapping[str, Weights], path) -> Weights:
    """The authors' sequence model and the phonemes' position table, under the hub's names."""
    sequence = parts["projection"]
    if missing := [name for name in (*_LINEAR, _STARTS, _ENDS) if name not in sequence]:
        raise InputError(f"{path}: tensor {missing[0]} is missing")
    for name in (_STARTS, _ENDS):
        if len(sequence.shape(name)) != 2 or sequence.shape(name)[0] < 2:
            raise InputError(f"{path}: tensor {name} has shape {sequence.shape(name)}")
    start, end = sequence[_STARTS], sequence[_ENDS]
    vectors = {"sos_embed": start[0], "eos_embed": end[0]}
    vectors |= {"sos_embed_1": start[1], "eos_embed_1": end[1]}
    tensors = sequence.renamed(_LINEAR) | Weights({n: ArrayReader(v) for n, v in vectors.items()})
    if _POSITIONS in parts.get("phonemes", ()):
        tensors |= parts["phonemes"].renamed({_POSITIONS: _POSITIONS})
    return tensors


def read_shapes(shapes: Shapes) -> ProjectionConfig:
    """The configuration of an authors' file, under the hub's names as `_gather` gives them."""
    width, clap_width = shapes["projection.weight"]
    return ProjectionConfig(
        clap_width=clap_width,
        text_width=shapes["projection_1.weight"][1],
        width=width,
        positions=shapes[_POSITIONS][2] if _POSITIONS in shapes else 0,
    )


def _inputs(config: ProjectionConfig) -> tuple:
    length = config.positions or 4
    text = jnp.zeros((1, length, config.text_width))
    return jnp.zeros((1, config.clap_width)), text, token_ids(length)


PART = Part(
    name="projection",
    folder="projection_model",
    classes={"AudioLDM2ProjectionModel": "audioldm2"},
    weights=DIFFUSERS_FILE,
    model=LOAProjection,
    inputs=_inputs,
    read=read_config,
    write=write_config,
    table=lambda config: TABLE,
    authors=AuthorsPart(
        mark=_STARTS, table=lambda config: TABLE, read_shapes=read_shapes, gather=_gather
    ),
)
