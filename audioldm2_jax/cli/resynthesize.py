"""Code recordings by a neural codec and decode them: what the codec keeps.

SRC is a sound file or a folder of them, of any rate, channels and format that libsndfile reads.
DST has the codec's rate and channels: SRC is resampled to them, and its channels are averaged where
there are others. A line for each file says the bitrate, and how far DST is from SRC at that rate:
SI-SDR (of waveforms) and the mean difference of log-mel spectrograms.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path

from audioldm2_jax.cli.device import add_device, use_device
from audioldm2_jax.cli.help import Example, choices
from audioldm2_jax.errors import InputError, printable

EXAMPLES = (
    Example(
        "audioldm2-jax resynthesize in.wav out.wav --codec descript/dac_16khz --levels 4",
        "a recording as AudioLM's coarse tokens hold it",
    ),
    Example(
        "audioldm2-jax resynthesize recordings/ coded/ --codec kyutai/mimi --format flac",
        "all sound files of a folder, and the mean figures",
    ),
    Example(
        "audioldm2-jax resynthesize in.mp3 out.wav --codec weights_44khz_8kbps_0.0.1.pth",
        "with the authors' file of a codec",
    ),
)
MAX_SECONDS = 7200.0  # of a file: it is in memory as a whole


def add_arguments(parser) -> None:
    """Adds the command's options to its parser."""
    from audioldm2_jax.audio import FORMATS
    from audioldm2_jax.dtypes import DTYPES

    add = parser.add_argument
    add("source", metavar="SRC", help="sound file, or folder of sound files")
    add("target", metavar="DST", help=f"file ({' '.join(FORMATS)}); of a folder, another folder")
    codec = "SoundStream, EnCodec, DAC or Mimi: a folder, hub id or authors' file"
    add("--codec", required=True, metavar="NAME", help=codec)
    add("--levels", type=int, default=None, metavar="N", help="codebooks to keep; default: all")
    kinds = "kind of sound files in a folder; default wav (16 bit)"
    add("--format", default=None, metavar=choices(kind[1:] for kind in FORMATS), help=kinds)
    dtype = "of weights and activations; default bf16 on GPU and TPU, fp32 on CPU"
    add("--dtype", default=None, metavar=choices(DTYPES), help=dtype)
    add_device(parser)
    add("-q", "--quiet", action="store_true", help="no progress")


@dataclass(frozen=True)
class Figures:
    """What a file's line says. levels: (decoded, of the codec); si_sdr and distance: dB."""

    seconds: float
    rate: int
    levels: tuple[int, int]
    kbits: float
    si_sdr: float
    distance: float

    def __str__(self):
        bitrate = f"{self.levels[0]} of {self.levels[1]} levels, {self.kbits:.3g} kbit/s"
        length = f"{self.seconds:.2f} s at {self.rate} Hz"
        return f"{length}, {bitrate}, {_distances(self.si_sdr, self.distance)}"


def _distances(ratio: float, distance: float) -> str:
    text = "none (SRC is silent)" if math.isnan(ratio) else f"{ratio:.2f} dB"
    return f"SI-SDR {text}, log-mel difference {distance:.2f} dB"


def run(options) -> int:
    """Runs the command; returns the exit code. Raises InputError."""
    from audioldm2_jax.dtypes import parse_dtype

    if options.levels is not None and options.levels < 1:
        raise InputError(f"--levels {options.levels}: at least 1 is needed")
    pairs = _pairs(options)
    use_device(options.device)
    from audioldm2_jax.backend import enable_cache
    from audioldm2_jax.encoders.codec import Codec

    enable_cache()
    _log(options, f"loading {options.codec}")
    codec = Codec.from_pretrained(
        options.codec, dtype=parse_dtype(options.dtype), quiet=options.quiet
    )
    levels = codec.levels if options.levels is None else options.levels
    if levels > codec.levels:
        raise InputError(f"--levels {levels}: {options.codec} has {codec.levels}")
    _log(options, f"coding at {codec.sample_rate} Hz; each new length compiles, some seconds")
    figures, failures = [], 0
    for source, target in pairs:
        try:
            figures.append(_resynthesize(codec, source, target, levels))
            print(printable(f"{target}: {figures[-1]}"), flush=True)
        except InputError as error:
            if len(pairs) == 1:
                raise
            failures += 1
            print(printable(f"left out: {error}"), file=sys.stderr)
    if len(figures) > 1:
        audible = [f.si_sdr for f in figures if not math.isnan(f.si_sdr)]
        mean = sum(audible) / len(audible) if audible else math.nan
        distance = sum(f.distance for f in figures) / len(figures)
        print(f"mean of {len(figures)} files: {_distances(mean, distance)}")
    return 2 if failures else 0


def _pairs(options) -> list[tuple[Path, Path]]:
    """(source, target) of each file. Raises InputError for what cannot be read or written."""
    from audioldm2_jax import files
    from audioldm2_jax.audio import FORMATS
    from audioldm2_jax.pipelines.output import check_format, check_writable

    source, target = files.user_path(options.source), files.user_path(options.target)
    if not source.is_dir():
        if not source.is_file():
            raise InputError(f"{source}: no such file")
        kinds = " ".join(FORMATS)
        if target.is_dir() or target.suffix.lower() not in FORMATS:
            raise InputError(f"{target}: SRC is a file, so DST must be one that ends in {kinds}")
        if options.format is not None:
            raise InputError(f"--format {options.format}: DST's name says it; leave it out")
        if target.exists() and target.samefile(source):
            raise InputError(f"{target}: is SRC itself; give another name")
        check_writable(target.parent)
        return [(source, target)]
    suffix = check_format("wav" if options.format is None else options.format)
    if source.resolve() in (target.resolve(), *target.resolve().parents):
        raise InputError(f"{target}: lies in SRC; give a folder outside of it")
    check_writable(target)
    return _folder_pairs(source, target, suffix)


def _folder_pairs(source: Path, target: Path, suffix: str) -> list[tuple[Path, Path]]:
    """All sound files below a folder. Raises InputError if there are none."""
    from audioldm2_jax.data.ingest.file_ref import AUDIO_SUFFIXES

    sound_files = sorted(
        p for p in source.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES and p.is_file()
    )
    if not sound_files:
        raise InputError(f"{source}: holds no sound files ({' '.join(sorted(AUDIO_SUFFIXES))})")
    names = [path.relative_to(source) for path in sound_files]
    stems = [name.with_suffix("") for name in names]
    # Files that differ in their suffix alone keep it within their new name.
    return [
        (path, target / (name.with_suffix(suffix) if stems.count(stem) == 1 else f"{name}{suffix}"))
        for path, name, stem in zip(sound_files, names, stems)
    ]


def _resynthesize(codec, source: Path, target: Path, levels: int) -> Figures:
    """Codes one file and writes what is decoded. Raises InputError."""
    import numpy as np

    from audioldm2_jax import files
    from audioldm2_jax.audio import resample, save_audio
    from audioldm2_jax.evaluation.metrics.waveforms import log_mel_distance, si_sdr
    from audioldm2_jax.pipelines.recordings import read_sound

    wave, rate, _ = read_sound(source, longest=MAX_SECONDS)
    if not np.isfinite(wave).all():
        raise InputError(f"{source}: NaN or infinity in its samples")
    if wave.shape[1] != codec.channels:
        wave = np.repeat(wave.mean(1, keepdims=True), codec.channels, 1)
    wave = resample(np.ascontiguousarray(wave.T), rate, codec.sample_rate).T
    if len(wave) < codec.hop:
        seconds = codec.hop / codec.sample_rate
        raise InputError(f"{source}: shorter than a frame of the codec ({seconds:g} s)")
    codes = codec.encode(wave[None], levels)
    sound = codec.decode(codes, len(wave), scales=codec.scales(wave[None]))[0]
    sound = sound.reshape(len(sound), -1).clip(-1, 1)
    sound = np.pad(sound, ((0, len(wave) - len(sound)), (0, 0)))
    files.make_folder(target.parent)
    save_audio(target, sound[:, 0] if codec.channels == 1 else sound, codec.sample_rate)
    return Figures(
        seconds=len(wave) / codec.sample_rate,
        rate=codec.sample_rate,
        levels=(levels, codec.levels),
        kbits=codec.frame_rate * levels * math.log2(codec.codebook) / 1000,
        si_sdr=si_sdr(wave, sound),
        distance=log_mel_distance(wave, sound, codec.sample_rate),
    )


def _log(options, text: str) -> None:
    if not options.quiet:
        print(printable(text), file=sys.stderr)
