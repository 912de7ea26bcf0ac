"""Mel pictures of what the embedded models make of held-out prompts, beside their real clips.

    python benchmarks/nano_gallery.py [--speech] [--model nano] [--folder nano]

Nothing is chosen: the prompts or sentences are the benchmarks', as `--first` begins, each with a
single candidate. Writes docs/nano/gallery.png; of speech docs/nano/speech.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import soundfile

from audioldm2_jax import Pipeline
from audioldm2_jax.pictures import mel_picture
from benchmarks.nano import generate, read_clips, read_prompts
from benchmarks.nano_speech import generate_speech, read_sentences

TARGET = Path(__file__).parent.parent / "docs" / "nano"
COLUMNS = 5


def sounds(pipe: Pipeline, folder: Path, first: int, count: int) -> tuple:
    """(titles, generated clips, real ones)."""
    prompts = read_prompts(folder / "held-raw", first + count)[first:]
    return [p.caption for p in prompts], generate(pipe, prompts, seed=0), read_clips(prompts)


def sentences(pipe: Pipeline, folder: Path, first: int, count: int) -> tuple:
    """The same of speech."""
    raw = folder / "speech-held-raw"
    clips = read_sentences(raw, first + count)[first:]
    real = [soundfile.read(raw / clip["wav"], dtype="float32")[0] for clip in clips]
    titles = [f"{clip['transcript']}\n{clip['caption_1']}" for clip in clips]
    return titles, generate_speech(pipe, clips, seed=0), real


def draw(titles, generated, real, rows: int, path: Path) -> None:
    """Each prompt's generated clip above a real one."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    drawing, axes = plt.subplots(
        2 * rows, COLUMNS, figsize=(15, 2.75 * rows), constrained_layout=True
    )
    for i, title in enumerate(titles):
        row, column = divmod(i, COLUMNS)
        pair = axes[2 * row : 2 * row + 2, column]
        pair[0].set_title(title, size=9)
        for axis, wave, name in zip(pair, (generated[i], real[i]), ("generated", "real")):
            axis.imshow(mel_picture(wave, 16000), aspect="auto")
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_ylabel(name, size=8)
    drawing.savefig(path, dpi=75)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--speech", action="store_true", help="what nano-speech says")
    parser.add_argument("--model", default=None, help="checkpoint to show; default the embedded")
    parser.add_argument("--folder", type=Path, default=Path("nano"), help="that of `make nano`")
    parser.add_argument("--first", type=int, default=0, help="number of the first prompt")
    options = parser.parse_args()
    model, make, rows, name = "nano", sounds, 4, "gallery"
    if options.speech:
        model, make, rows, name = "nano-speech", sentences, 2, "speech"
    pipe = Pipeline.from_pretrained(options.model or model, progress=False)
    clips = make(pipe, options.folder, options.first, rows * COLUMNS)
    path = TARGET / f"{name}.png"
    draw(*clips, rows, path)
    print(path)


if __name__ == "__main__":
    main()
