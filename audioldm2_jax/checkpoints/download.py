"""From a name to a checkpoint's folder: a bundled model, a folder, or a hub id.

Files of the hub come from its cache. A download starts with a line on its size.
"""

from __future__ import annotations

import fnmatch
import functools
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from audioldm2_jax.errors import InputError, printable
from audioldm2_jax.files import user_path

_BUNDLED = Path(__file__).parent.parent / "bundled"
# Files that loading reads beside the weights.
_WANTED = ("*.json", "*.txt", "*.model")
_WEIGHTS = (".safetensors", ".bin")
# The variant in `model.fp16.safetensors`, and in shards, behind or (older) before their numbers.
_VARIANT = re.compile(
    r"[^.]+(?:\.(?P<variant>[\w-]+?))?(?:-\d+-of-\d+)?\.\w+|"
    r"[^.]+\.\w+\.index(?:\.(?P<index>[\w-]+))?\.json"
)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def bundled() -> dict[str, Path]:
    """{name: folder} of the models that come with the package."""
    return {file.parent.name: file.parent for file in _BUNDLED.glob("*/model_index.json")}


def locate(
    name,
    *,
    revision: str | None = None,
    quiet: bool = False,
    variant: str | None = None,
    configs_only: bool = False,
) -> Path:
    """The folder of a checkpoint. What the hub's cache lacks is downloaded.

    name: a bundled model ("./nano" is a folder of that name), a folder, or a hub id. revision:
    branch, tag or commit of a hub id. quiet: no line on the size. variant: see `choose`.
    configs_only: fetches the JSON files alone. Raises InputError for another name, or if the hub
    cannot be reached and the cache lacks the model.
    """
    if folder := bundled().get(str(name)):
        return folder
    path = user_path(name)
    if os.path.exists(path):
        if not path.is_dir():
            raise InputError(
                f"{path}: a file; a checkpoint is a folder in the hub layout or a hub id"
            )
        return path
    if not _HUB_ID.fullmatch(str(name)):
        raise InputError(f"{name}: no such folder or file, and not a hub id of the form owner/name")
    select = choose_configs if configs_only else functools.partial(choose, variant=variant)
    return fetch(str(name), revision=revision, quiet=quiet, select=select)


def fetch(
    name: str,
    *,
    revision: str | None = None,
    quiet: bool = False,
    select: Callable[[list[str]], list[str]] | None = None,
) -> Path:
    """The folder of a hub repository, with the files that `select` picks (default: `choose`).

    Raises InputError if the hub does not know it, or cannot be reached while the cache lacks it.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        files = HfApi().model_info(name, revision=revision, files_metadata=True).siblings
    except GatedRepoError:
        raise InputError(f"{name}: gated on the hub; accept its terms there and log in") from None
    except RevisionNotFoundError:
        raise InputError(f"{name}: the hub has no revision {revision!r}") from None
    except RepositoryNotFoundError:
        raise InputError(f"{name}: no such folder, and the hub has no such model") from None
    except Exception:  # offline mode, no network, a proxy's refusal: the cache may do
        return _from_cache(name, revision)
    selection = (select or choose)([file.rfilename for file in files])
    size = sum(file.size or 0 for file in files if file.rfilename in selection)
    if not quiet:
        text = f"{name}: {len(selection)} files, {size / 1e9:.2f} GB (files in the cache are kept)"
        print(printable(text), file=sys.stderr)
    return Path(snapshot_download(name, revision=revision, allow_patterns=selection))


def _from_cache(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except Exception:
        at = f" at revision {revision!r}" if revision else ""
        raise InputError(
            f"{name}{at}: not a folder, not in the hub's cache, and the hub cannot be reached; go "
            "online once or give a folder"
        ) from None


def choose(files: list[str], variant: str | None = None) -> list[str]:
    """The files of a repository that loading needs, each part's weights in one form only.

    Safetensors come before torch's files. variant: such as "fp16". A part without it gives its
    plain files, and a part without plain files all its variants.
    """
    selection, weights = [], {}
    for file in files:
        path = PurePosixPath(file)
        index = path.name.endswith(".json") and ".index." in path.name
        if path.suffix in _WEIGHTS or index:
            kind = "bin" if ".bin" in path.name else "safetensors"
            weights.setdefault(path.parent, []).append((_variant_of(path.name), kind, file))
        elif any(fnmatch.fnmatch(file, pattern) for pattern in _WANTED):
            selection.append(file)
    for entries in weights.values():
        for choice in (variant, None):
            if matches := [entry for entry in entries if entry[0] == choice]:
                break
        matches = matches or entries
        safe = [entry for entry in matches if entry[1] == "safetensors"]
        selection += [file for _, _, file in safe or matches]
    return sorted(selection)


def choose_configs(files: list[str]) -> list[str]:
    """The files of a repository that say what its parts are."""
    return sorted(f for f in files if f.endswith(".json") and ".index." not in f)


def _variant_of(name: str) -> str | None:
    """The variant in the name of a weight file or its index."""
    match = _VARIANT.fullmatch(name)
    return (match["variant"] or match["index"]) if match else None


def choose_tokenizer(files: list[str]) -> list[str]:
    """The files of a repository from which a tokenizer loads."""
    names = ("config.json", "*token*.json", "vocab.*", "merges.txt", "*.model")
    return sorted(f for f in files if any(fnmatch.fnmatch(f, name) for name in names))
