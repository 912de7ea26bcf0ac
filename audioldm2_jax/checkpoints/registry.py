"""Official names of published models, on the command line and in Python."""

from __future__ import annotations

from audioldm2_jax.checkpoints import download
from audioldm2_jax.errors import InputError
from audioldm2_jax.files import user_path

# Names of the official command, and where the hub holds the same weights.
OFFICIAL_NAMES = {
    "audioldm2-full": "cvssp/audioldm2",
    "audioldm2-full-large-1150k": "cvssp/audioldm2-large",
    "audioldm2-music-665k": "cvssp/audioldm2-music",
    "audioldm2-speech-ljspeech": "anhnct/audioldm2_ljspeech",
    "audioldm2-speech-gigaspeech": "anhnct/audioldm2_gigaspeech",
    "audioldm-s-full": "cvssp/audioldm-s-full",
    "audioldm-s-full-v2": "cvssp/audioldm-s-full-v2",
    "audioldm-m-full": "cvssp/audioldm-m-full",
    "audioldm-l-full": "cvssp/audioldm-l-full",
}
# Published as the authors' files only: {official name: repository of the hub}.
OFFICIAL_FILES = {
    "audioldm_48k": "haoheliu/audioldm_48k",
    "audioldm_16k_crossattn_t5": "haoheliu/audioldm_16k_crossattn_t5",
}
# Published models whose configuration is known: the preset of each.
PUBLISHED = {
    "cvssp/audioldm2": "base",
    "cvssp/audioldm2-large": "large",
    "cvssp/audioldm2-music": "music",
    "anhnct/audioldm2_ljspeech": "speech",
    "anhnct/audioldm2_gigaspeech": "speech",
    "cvssp/audioldm-s-full": "audioldm-s",
    "cvssp/audioldm-s-full-v2": "audioldm-s",
    "cvssp/audioldm-m-full": "audioldm-m",
    "cvssp/audioldm-l-full": "audioldm-l",
    "ucsd-reach/musicldm": "musicldm",
    "declare-lab/tango": "tango",
    "declare-lab/tango-full": "tango",
    "declare-lab/tango-full-ft-audiocaps": "tango",
    "declare-lab/tango2": "tango",
    "declare-lab/tango2-full": "tango",
    "audioldm_48k": "audioldm-48k",
    "audioldm_16k_crossattn_t5": "audioldm-t5",
}
# Published in files that are not read: {hub id: why}.
UNREAD = {
    "facebook/audiogen-medium": (
        "the hub has audiocraft's own files of it alone, whose settings are a text inside a pickle "
        "and whose T5 is in another repository; take facebook/musicgen-small for music, or "
        "cvssp/audioldm2 for sounds"
    ),
}
# The bundled models, and the checkpoint of full size for the same task.
DEFAULT, SPEECH = "nano", "nano-speech"
FULL = {DEFAULT: "cvssp/audioldm2", SPEECH: "anhnct/audioldm2_gigaspeech"}


def hub_name(name: str) -> str:
    """The hub id of an official name; other names as given. Raises InputError for unread ones."""
    if name in UNREAD and not user_path(name).exists():
        raise InputError(f"{name}: {UNREAD[name]}")
    return OFFICIAL_NAMES.get(name, name)


def resolve(name, *, revision: str | None = None, quiet: bool = False) -> str:
    """The hub id or the path of an official name; other names are returned as given.

    An authors' file is fetched from the hub, at `revision`. "./NAME" is a folder of that name.
    quiet: no line on the size of a download. Raises InputError if the file cannot be fetched.
    """
    name = str(name)
    if name not in OFFICIAL_FILES:
        return hub_name(name)
    file = f"{name}.pth"
    folder = download.fetch(
        OFFICIAL_FILES[name],
        revision=revision,
        quiet=quiet,
        select=lambda files: [f for f in files if f == file],
    )
    if not (folder / file).is_file():
        raise InputError(f"{OFFICIAL_FILES[name]}: the hub has no {file}; give the file's path")
    return str(folder / file)
