"""The parts inside one of the authors' files, found by what they hold, and assembled."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from audioldm2_jax.checkpoints import weights
from audioldm2_jax.checkpoints.authors import averages, shapes, tables
from audioldm2_jax.checkpoints.convert import Table, cast_to, checked, to_params
from audioldm2_jax.checkpoints.hub import Checkpoint
from audioldm2_jax.checkpoints.parts import PARTS, parts_of
from audioldm2_jax.checkpoints.single import Single
from audioldm2_jax.checkpoints.tables import audiomae, language
from audioldm2_jax.checkpoints.tokenizers import tokenizers_for
from audioldm2_jax.checkpoints.weights import Known, Weights
from audioldm2_jax.errors import InputError, note
from audioldm2_jax.files import user_path
from audioldm2_jax.presets import CONVENTIONS, ModelConfig

# A tensor that every file with the part holds, behind whatever prefix.
_MARKS = {
    "unet": "input_blocks.0.0.weight",
    "vae": "encoder.conv_in.weight",
    "vocoder": "conv_pre.bias",
    "clap": "text_branch.embeddings.word_embeddings.weight",
    "t5": "shared.weight",
    "gpt2": "wte.weight",
    "phonemes": "text_encoder.emb.weight",
    "sequence": "start_of_sequence_tokens.weight",
    "audiomae": "cls_token",
}
_TABLES: dict[str, Callable[..., Table]] = {
    "unet": tables.unet_table,
    "vae": tables.vae_table,
    "vocoder": tables.vocoder_table,
    "clap": lambda c: tables.CLAP,
    "phonemes": lambda c: tables.PHONEMES,
    # These keep the names of the hub layout.
    "t5": lambda c: language.T5,
    "gpt2": lambda c: language.GPT2,
    "projection": lambda c: language.PROJECTION,
    "audiomae": lambda c: audiomae.AUDIOMAE,
}
# Training state and constants beside the parts.
_BESIDE = re.compile(
    r"(.*\bmodel_ema\..*|betas|.*alphas_cumprod.*|posterior_.*|lvlb_weights|logvar|(.*\.)?scale_factor|"
    r".*mel_transform\..*|first_stage_model\.loss\..*|loss\..*|.*\.num_batches_tracked|global_step)"
)


@dataclasses.dataclass
class Source:
    """An opened file: its parts' tensors under the names that their tables know.

    left_out: names of tensors that no part reads; taken: which of two sets of the U-Net's weights
    were chosen, "" where the file has one.
    """

    path: Path
    parts: dict[str, Weights]
    scale: float | None
    left_out: list[str]
    taken: str = ""

    @property
    def is_model(self) -> bool:
        """Whether it generates sound, against a single part such as CLAP."""
        return "unet" in self.parts

    def say(self) -> None:
        """Notes on stderr: what was chosen, and what was passed over."""
        if self.taken:
            note(f"{self.path}: {self.taken}")
        if self.left_out:
            note(describe_left_out(self))


def open_file(path, choice: str = "auto") -> Source:
    """Finds the parts of a file. choice: "raw" weights, their "ema", or "auto".

    "auto" is what the authors' commands sample with: see `averages.choose`. Raises InputError for a
    file without known parts.
    """
    path = user_path(path)
    # What stands before a part's names is found by its mark, before all names by the diffusion's.
    content = weights.unwrapped(weights.read(path, choice), lambda name: True)
    content = weights.unwrapped(content, ("betas", "logvar", "scale_factor").__contains__)
    prefixes = {name: _prefixes(content, mark) for name, mark in _MARKS.items()}
    parts = {name: _under(content, found[0]) for name, found in prefixes.items() if found}
    average, taken = averages.find(content, parts.get("unet"), path), ""
    if "unet" in parts or average:
        parts["unet"], taken = averages.choose(parts.get("unet"), average, choice, path)
    elif choice == "ema" and parts:
        raise InputError(f"{path}: holds no U-Net, so no moving average of one (--weights ema)")
    if not parts:
        raise InputError(f"{path}: none of the known models is in it ({len(content)} tensors)")
    if "vae" in parts:
        # The whole autoencoder, of which the mark is the encoder's.
        wanted = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
        parts["vae"] = _starting(parts["vae"], wanted)
    if "vocoder" in parts:
        parts["vocoder"] = _vocoder(parts["vocoder"], path)
    if "phonemes" in parts or "sequence" in parts:
        _join_sequence(parts, path)
    known = tuple(p for found in prefixes.values() for p in found)
    left = [n for n in content if not n.startswith(known) and not _BESIDE.fullmatch(n)]
    return Source(path, parts, _scale(content, path), left, taken)


def _scale(content: Weights, path) -> float | None:
    """The latents' factor, if the file has one."""
    name = next((n for n in content if _ends(n, "scale_factor")), None)
    if name is None:
        return None
    values = checked(content[name], f"{path}: tensor {name}").ravel()
    if values.size != 1 or not values[0] > 0:
        raise InputError(f"{path}: tensor {name} is no factor of latents (one number above zero)")
    return float(values[0])


def _prefixes(content: Weights, mark: str) -> list[str]:
    """What stands before the mark, the authors' conditioners before copies for ranking."""
    found = [name.removesuffix(mark) for name in content if _ends(name, mark)]
    if mark == _MARKS["gpt2"]:
        found = [p for p in found if f"{p}wpe.weight" in content]
    if mark == _MARKS["audiomae"]:
        found = [p for p in found if f"{p}patch_embed.proj.weight" in content]
    if mark == _MARKS["vae"]:
        found = [p for p in found if f"{p}decoder.conv_in.weight" in content]
    return sorted(found, key=lambda prefix: (prefix.startswith("clap."), prefix))


def _ends(name: str, mark: str) -> bool:
    return name == mark or name.endswith(f".{mark}")


def _under(content: Weights, prefix: str) -> Weights:
    return content.renamed({n: n.removeprefix(prefix) for n in content if n.startswith(prefix)})


def _starting(content: Weights, starts: tuple[str, ...]) -> Weights:
    return content.renamed({name: name for name in content if name.startswith(starts)})


def _vocoder(content: Weights, path) -> Weights:
    """Weight norm folded in; the mean and scale that transformers' class has besides."""
    folded, plain = {}, {}
    for name in content:
        stem = re.sub(r"\.(weight_v|parametrizations\.weight\.original1)$", "", name)
        if stem != name:
            size = "weight_g" if name.endswith("weight_v") else "parametrizations.weight.original0"
            if f"{stem}.{size}" not in content:
                raise InputError(f"{path}: tensor {stem}.{size} is missing")
            folded[f"{stem}.weight"] = _Normed(content, name, f"{stem}.{size}")
        elif not re.search(r"\.(weight_g|parametrizations\.weight\.original0)$", name):
            plain[name] = name
    whole = content.renamed(plain) | Weights(folded)
    mels = shapes.Shapes(whole, f"{path}: vocoder")["conv_pre.weight"][1:2]
    neutral = {"mean": np.zeros(mels, np.float32), "scale": np.ones(mels, np.float32)}
    return whole | Weights({name: Known(value) for name, value in neutral.items()})


class _Normed:
    """weight = size * direction / |direction|, the norm over all axes but the first."""

    def __init__(self, content, direction, size):
        self.content, self.direction, self.size = content, direction, size
        self.shape = content.shape(direction)

    def read(self) -> np.ndarray:
        direction = self.content[self.direction].astype(np.float32)
        axes = tuple(range(1, direction.ndim))
        norm = np.sqrt(np.square(direction).sum(axes, keepdims=True))
        return direction * (self.content[self.size].astype(np.float32) / norm)


def _join_sequence(parts: dict[str, Weights], path) -> None:
    """The projection under the hub's names, from the sequence model and the phonemes' table."""
    sequence = parts.pop("sequence", None)
    if sequence is None:
        raise InputError(f"{path}: a phoneme encoder without its sequence model")
    linear = "input_sequence_embed_linear"
    names = {
        f"{linear}.{i}.{kind}": f"projection{suffix}.{kind}"
        for i, suffix in enumerate(("", "_1"))
        for kind in ("weight", "bias")
    }
    starts, ends = "start_of_sequence_tokens.weight", "end_of_sequence_tokens.weight"
    if missing := [name for name in (*names, starts, ends) if name not in sequence]:
        raise InputError(f"{path}: tensor {missing[0]} is missing")
    for name in (starts, ends):
        if len(sequence.shape(name)) != 2 or sequence.shape(name)[0] < 2:
            raise InputError(f"{path}: tensor {name} has shape {sequence.shape(name)}")
    start, end = sequence[starts], sequence[ends]
    vectors = {"sos_embed": start[0], "eos_embed": end[0]}
    vectors |= {"sos_embed_1": start[1], "eos_embed_1": end[1]}
    joined = sequence.renamed(names) | Weights({n: Known(v) for n, v in vectors.items()})
    table = "learnable_positional_embedding"
    if table in parts.get("phonemes", ()):
        joined |= parts["phonemes"].renamed({table: table})
    parts["projection"] = joined


def read_configs(source: Source) -> dict:
    """{part: configuration}, from shapes. Raises InputError for shapes of no known model."""
    try:
        return _read_configs(source)
    except InputError:
        raise
    except (ValueError, IndexError, ZeroDivisionError, StopIteration):
        raise InputError(f"{source.path}: its tensors have shapes of no known model") from None


def _read_configs(source: Source) -> dict:
    def of(name):
        return shapes.Shapes(source.parts[name], f"{source.path}: {name}")

    found = {}
    for name in source.parts:
        if name == "vae":
            found[name] = shapes.vae(of(name), 1.0 if source.scale is None else source.scale)
        elif name == "gpt2":
            found[name] = shapes.gpt2(of(name), 512 if "phonemes" in source.parts else 8)
        else:
            found[name] = getattr(shapes, name)(of(name))
    return found


def model_config(source: Source) -> ModelConfig:
    """The whole model. Raises InputError naming a part that its family needs and the file lacks."""
    if not source.is_model:
        parts = " ".join(source.parts)
        raise InputError(f"{source.path}: holds {parts}, which alone makes no sound; convert it")
    parts = read_configs(source)
    if "gpt2" in parts:
        family, text = "audioldm2", "phonemes" if "phonemes" in parts else "t5"
        needed = ("clap", text, "projection", "gpt2")
    elif parts["unet"].film:
        family, needed = "audioldm", ("clap",)
        if "clap" in parts:
            parts["clap"] = dataclasses.replace(parts["clap"], scales=False)
    else:
        family, needed = "audioldm_t5", ("t5",)
    for name in (*needed, "vae", "vocoder"):
        if name not in parts:
            raise InputError(
                f"{source.path}: a U-Net of the family {family}, but no {name} with it"
            )
    if source.scale is None:
        raise InputError(f"{source.path}: tensor scale_factor is missing; without it no latents")
    empty = dict.fromkeys(("clap", "t5", "projection", "gpt2"))
    return ModelConfig(family, **empty | parts)


def load_part(source: Source, name: str, config, dtype=jnp.float32) -> dict:
    """One part's parameters."""
    content = source.parts[name]
    if name == "clap" and not config.scales:
        content = content.renamed({n: n for n in content if not n.startswith("logit_scale")})

    where = f"{source.path}: {name}"
    table, like = _TABLES[name](config), PARTS[name].shapes(config, where)
    return to_params(content, table, like, put=cast_to(dtype), where=where)


def load(
    source: Source,
    *,
    tokenizers: str | None = None,
    dtype=jnp.float32,
    report: Callable | None = None,
    without: tuple[str, ...] = (),
    need_tokenizers: bool = True,
) -> Checkpoint:
    """A whole model from an opened file, as `hub.load` gives it.

    tokenizers: a folder in the hub layout to take them from, None for the hub, which may fail
    unless `need_tokenizers`. Raises InputError.
    """
    config = dataclasses.replace(model_config(source), **dict.fromkeys(without))
    source.say()
    texts = tokenizers_for(config, tokenizers, required=need_tokenizers)
    params = {}
    for name in parts_of(config):
        if report:
            report(name)
        params[name] = load_part(source, name, getattr(config, name), dtype)
    return Checkpoint(config, params, texts, CONVENTIONS["authors"], str(source.path))


def load_single(source: Source, tokenizers: str | None = None) -> Single:
    """The one part of a file that is no whole model: CLAP, AudioMAE, an autoencoder, a vocoder.

    Of several (an autoencoder with its vocoder) the first. Raises InputError.
    """
    holds = " ".join(source.parts)
    name = next((n for n in ("clap", "audiomae", "vae", "vocoder") if n in source.parts), None)
    if name is None or set(source.parts) not in ({name}, {"vae", "vocoder"}):
        raise InputError(f"{source.path}: holds {holds}, which is neither a model nor one part")
    if source.left_out:
        raise InputError(
            f"{describe_left_out(source)}, so it is more than the {name} that it holds"
        )
    config = read_configs(source)[name]
    params = load_part(source, name, config)
    tokenizers = (
        tokenizers_for(ModelConfig(clap=config, t5=None), tokenizers, required=False)
        if name == "clap"
        else {}
    )
    return Single(name, config, params, tokenizers.get("tokenizer"))


def describe_left_out(source: Source) -> str:
    """One line on tensors that no part reads."""
    names = source.left_out
    return f"{source.path}: {len(names)} tensors belong to no known part ({names[0]} ...)"
