"""Make the synthetic corpus: clips with captions, labels and, for speech, transcripts."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

from audioldm2_jax.cli.help import Example
from audioldm2_jax.errors import InputError

EXAMPLES = (
    Example(
        "audioldm2-jax soundscapes corpora/raw --count 2000 -dur 2.56",
        "a corpus to try training with; `audioldm2-jax prepare corpora/raw DST` comes next",
    ),
    Example(
        "audioldm2-jax soundscapes corpora/two --count 100 --classes rain,small_bell",
        "clips of two classes alone, in turn",
    ),
    Example(
        "audioldm2-jax soundscapes examples --examples",
        "one clip and one picture of each class",
    ),
)
# Options of a corpus and their defaults; --examples takes none of them.
NOT_EXAMPLES = {"count": 1000, "seconds": 10.24, "speech": 0.0, "voices": "varied"}
NOT_EXAMPLES |= {"kinds": "", "classes": "", "workers": None}


def notes() -> str:
    """The names of the classes, for --help."""
    from audioldm2_jax.data.soundscapes.sound_classes import SOUND_CLASSES

    names = textwrap.wrap(" ".join(sorted(SOUND_CLASSES)), 78)
    return "Classes:\n" + "\n".join(f"  {line}" for line in names)


def add_arguments(parser) -> None:
    """Adds the command's arguments to an argparse parser."""
    add = parser.add_argument
    add("target", metavar="DST", help="folder; a stopped build in it goes on")
    add("--count", type=int, default=1000, metavar="N", help="number of clips")
    same = "the same seed gives the same corpus"
    add("--seed", type=int, default=0, metavar="N", help=same)
    names = ("-dur", "--seconds", "--duration")
    add(*names, type=float, default=10.24, metavar="SECONDS", help="length of each clip")
    share = "share of speech, from 0 to 1 (needs the extra tts)"
    add("--speech", type=float, default=0.0, metavar="SHARE", help=share)
    voices = "of the speech: varied, or plain: a woman and a man at three speeds, who begin at once"
    add("--voices", default="varied", metavar="{varied,plain}", help=voices)
    kinds = "shares of the clips without speech, such as one=3,overlay=1 (also sequence, music)"
    add("--kinds", default="", metavar="KIND=N,...", help=f"{kinds}; default: docs/soundscapes.md")
    classes = "instead, clips of one of these classes each, in turn; their names stand below"
    add("--classes", default="", metavar="NAME,...", help=classes)
    add(
        "--workers",
        type=int,
        default=None,
        metavar="N",
        help="processes; default: one for each core",
    )
    examples = "instead, one WAV and one picture of each sound class, to listen and look at"
    add("--examples", action="store_true", help=examples)
    add("-q", "--quiet", action="store_true", help="no progress")


def run(options) -> int:
    """Runs the command and returns its exit status. Raises InputError."""
    from audioldm2_jax.data.soundscapes import build

    kinds, classes = _check(options)
    if options.examples:
        for path in build.write_examples(Path(options.target), seed=options.seed):
            print(path)
        return 0
    if options.speech:
        from audioldm2_jax.phonemes import require_espeak

        require_espeak()
    from tqdm import tqdm

    # The bar starts late, so that an immediate error prints one line only.
    settings = {"unit": "clip", "file": sys.stderr, "disable": options.quiet, "delay": 1}
    with tqdm(total=options.count, **settings) as progress:
        counts = build.build(
            options.target,
            options.count,
            seed=options.seed,
            seconds=options.seconds,
            speech=options.speech,
            kinds=kinds,
            voices=options.voices,
            classes=classes,
            workers=options.workers,
            progress=progress.update,
        )
    print(json.dumps(counts, indent=2))
    return 0


def _check(options) -> tuple[dict[str, float], list[str]]:
    """Returns (shares of kinds, classes). Raises InputError for options without effect, too."""
    if not 1 <= options.count < 10**8:
        raise InputError(f"--count is {options.count}: it must be from 1 to 10^8")
    if not 0 <= options.seed < 1 << 64:
        raise InputError(f"--seed is {options.seed}: it must be from 0 to 2^64 - 1")
    if not 0 <= options.speech <= 1:
        raise InputError(f"--speech is {options.speech}: it must be between 0 and 1")
    if not 0.5 <= options.seconds <= 600:
        raise InputError(f"--seconds is {options.seconds}: it must be from 0.5 to 600 seconds")
    if options.workers is not None and not 1 <= options.workers <= 1024:
        raise InputError(f"--workers is {options.workers}: it must be from 1 to 1024")
    kinds = _kinds(options.kinds)
    classes = [name.strip() for name in options.classes.split(",") if name.strip()]
    if options.classes and not classes:
        raise InputError(f"--classes {options.classes}: names no class")
    if classes and (options.speech or options.kinds):
        raise InputError("--classes: give either classes, or --speech and --kinds")
    if options.voices != "varied" and not options.speech:
        raise InputError("--voices: there is no speech; give --speech SHARE too")
    if options.kinds and options.speech == 1:
        raise InputError("--kinds: with --speech 1 all clips are speech; leave one of them out")
    if options.examples:
        for name, default in NOT_EXAMPLES.items():
            if getattr(options, name) != default:
                raise InputError(f"--{name}: --examples makes one clip of each class; leave it out")
    return kinds, classes


def _kinds(text: str) -> dict[str, float]:
    """Parses --kinds into shares that add up to 1; "" gives the default. Raises InputError."""
    from audioldm2_jax.data.soundscapes.scene import KINDS

    if not text:
        return KINDS
    shares: dict[str, float] = dict.fromkeys(KINDS, 0.0)
    for part in text.split(","):
        name, _, share = part.strip().partition("=")
        if shares.get(name):
            raise InputError(f"--kinds {text}: {name} stands there twice")
        if name not in KINDS or not share.replace(".", "", 1).isdigit():
            raise InputError(
                f"--kinds {part.strip()}: KIND=NUMBER is expected, of {' '.join(KINDS)}"
            )
        shares[name] = float(share)
    total = sum(shares.values())
    if not total:
        raise InputError(f"--kinds {text}: one share must be above 0")
    return {name: share / total for name, share in shares.items()}
