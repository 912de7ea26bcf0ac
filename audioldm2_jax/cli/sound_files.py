"""Where a command writes its sounds: the options, the names, the files."""

from __future__ import annotations

import sys
from pathlib import Path

from audioldm2_jax import files
from audioldm2_jax.cli.help import choices
from audioldm2_jax.errors import InputError


def add_output(add) -> None:
    """The options of sound files; `add` is a parser's `add_argument`."""
    from audioldm2_jax.audio import FORMATS

    folder = "folder for the sounds and their records (.json); default ./output"
    add("-s", "--save_path", default=None, metavar="DIR", help=folder)
    single = f"file of a single prompt's sound, in place of -s: {' '.join(FORMATS)}"
    add("-o", "--output", default=None, metavar="FILE", help=single)
    kinds = "kind of sound file where the name does not say it; default wav (16 bit)"
    add("--format", default=None, metavar=choices(kind[1:] for kind in FORMATS), help=kinds)
    loudness = (
        "auto: clips within 5 LU of -23 LUFS; a number: that many LUFS, such as -18 (both keep "
        "peaks 1 dB below full scale); raw: what the network made, cut at full scale"
    )
    add("--loudness", default="auto", metavar="{auto,raw,LUFS}", help=loudness)
    picture = "also write a picture of each clip's mel spectrogram (.png)"
    add("--pictures", action="store_true", help=picture)
    add("-q", "--quiet", action="store_true", help="no progress, only the files written")


def suffix_of(options) -> str:
    """The suffix of names without one. Raises InputError for an unsupported format."""
    from audioldm2_jax.pipelines.output import check_format

    return check_format("wav" if options.format is None else options.format)


def target_of(options, names: list[str] | None, count: int) -> tuple[Path, list[str] | None]:
    """The folder and the names of `count` sounds, checked to be writable.

    names: of all sounds, None if they are still to be named. Raises InputError.
    """
    from audioldm2_jax.audio import FORMATS
    from audioldm2_jax.pipelines.output import check_format, check_target

    folder = options.save_path or "./output"
    if options.output is not None:
        path = Path(options.output)
        if options.save_path is not None:
            raise InputError(f"-o {path}: takes the place of -s; give one of them")
        if count > 1:
            raise InputError(f"-o {path}: takes one sound, not {count}; use -s FOLDER")
        if path.suffix.lower() not in FORMATS:
            kinds = " ".join(FORMATS)
            raise InputError(f"-o {path}: must end in one of {kinds}; use -s for a folder")
        if options.format is not None and check_format(options.format) != path.suffix.lower():
            raise InputError(f"-o {path}: is not of --format {options.format}; leave that out")
        folder, names = path.parent, [path.name]
    return check_target(folder, names, suffix_of(options), pictures=options.pictures)


def save(output, options, folder: Path, names: list[str] | None) -> None:
    """Writes a batch's clips and prints their paths."""
    paths = output.save(
        folder,
        names,
        pictures=options.pictures,
        loudness=options.loudness,
        format=suffix_of(options),
    )
    for path in paths:
        print(path, flush=True)
        # Only a name after the prompt can have a number behind it that we gave.
        if names is None and not options.quiet and (twin := _twin(path)):
            print(
                f"{path.name} is the same sound as {twin}: same prompt, seed and settings; "
                "--seed -1 draws another seed",
                file=sys.stderr,
            )


# What a record says beside what makes the sound.
_BESIDE_THE_SOUND = (
    *("device", "versions", "scores", "prompt_index"),
    *("loudness", "lufs", "peak", "gain_db", "clipped_samples"),
)

_MOST_TWINS = 1000  # older files that are looked at: a prompt itself may end in a large number


def _twin(path: Path) -> str | None:
    """The name of an older file with the same sound, if `path` has a number appended."""
    from audioldm2_jax.audio import FORMATS

    def sound(record: Path) -> dict:
        content = files.read_json(record)
        return {key: v for key, v in content.items() if key not in _BESIDE_THE_SOUND}

    stem, _, number = path.stem.rpartition("_")
    if not stem or not number.isdecimal():
        return None
    new = sound(path.with_suffix(".json"))
    for i in range(1, min(int(number), _MOST_TWINS)):
        record = path.with_name(f"{stem}_{i}.json" if i > 1 else f"{stem}.json")
        try:
            if sound(record) == new:
                older = (record.with_suffix(suffix) for suffix in FORMATS)
                return next((file.name for file in older if file.exists()), record.name)
        except InputError:  # somebody else's file, or none
            continue
    return None
