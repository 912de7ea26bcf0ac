"""Names of files, splits and corpora in the forms that they are compared and stored in."""

from __future__ import annotations

import re
import unicodedata


def normalise_name(name: str) -> str:
    """A file name as names are compared: NFC (macOS decomposes characters), forward slashes."""
    return unicodedata.normalize("NFC", name).replace("\\", "/").removeprefix("./")


def tfds_name(text: str) -> str:
    """A name that TFDS accepts: lower-case letters, digits, underscores, and a letter first."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return name if name[:1].isalpha() else f"corpus_{name}".rstrip("_")
