"""Published weights: where they lie on this machine, and their hashes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from audioldm2_jax import files
from audioldm2_jax.checkpoints import weights
from audioldm2_jax.errors import InputError


@dataclass(frozen=True)
class Published:
    """A published file.

    address: where it is to be had; note: how, where that is not plain. wheel: a pattern of files in
    the cache folder that hold it.
    """

    address: str
    note: str = ""
    wheel: str = ""


_CLAP = "https://huggingface.co/lukewys/laion_clap/resolve/main"
_MUSICNN = Published(
    "https://github.com/jordipons/musicnn", "pip install --no-deps musicnn==0.1.0", "musicnn-*.whl"
)
PUBLISHED = {
    "Cnn14_16k_mAP=0.438.pth": Published("https://zenodo.org/records/3987831"),
    "Cnn14_mAP=0.431.pth": Published("https://zenodo.org/records/3987831"),
    "vggish-10086976.pth": Published(
        "https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth"
    ),
    "MTT_musicnn": _MUSICNN,
    "MSD_musicnn": _MUSICNN,
    **{
        name: Published(f"{_CLAP}/{name}")
        for name in (
            "630k-audioset-best.pt",
            "630k-audioset-fusion-best.pt",
            "music_audioset_epoch_15_esc_90.14.pt",
            "music_speech_audioset_epoch_15_esc_89.98.pt",
        )
    },
}


def cache_folder() -> Path:
    """Where weights of backbones are looked for: $XDG_CACHE_HOME/audioldm2-jax/backbones."""
    return files.cache_folder("backbones")


def find(slot: str, name: str) -> Path:
    """The file of a published name in the cache folder.

    slot: the backbone, for the message. Raises InputError that says where to get it.
    """
    path, published = cache_folder() / name, PUBLISHED.get(name)
    if path.exists():
        return path
    if published and published.wheel:
        for wheel in sorted(cache_folder().glob(published.wheel)):
            return wheel
    source = f"; it is at {published.address}" if published else ""
    source += f" ({published.note})" if published and published.note else ""
    raise InputError(
        f"{slot}: the weights {name} are neither named by --weights {slot}=PATH nor in "
        f"{cache_folder()}{source}"
    )


def sha256(path) -> str:
    """The SHA-256 of a file; of a folder, that of its config.json and weights, with their names.

    Raises InputError if it cannot be read.
    """
    path = files.user_path(path)
    digest = hashlib.sha256()
    try:
        for file in [path] if path.is_file() else _model_files(path):
            if path.is_dir():
                digest.update(file.name.encode() + b"\0")
            with file.open("rb") as stream:
                hashlib.file_digest(stream, lambda: digest)
    except OSError as error:
        raise files.cannot(path, "read", error) from None
    return digest.hexdigest()


def _model_files(folder: Path) -> list[Path]:
    file = weights.find(folder)
    shards = sorted(folder.glob("*-of-*")) if file.name.endswith(".json") else []
    return [folder / "config.json", file, *shards]
