"""Mel pictures of what the embedded model makes of held-out prompts, beside their real clips.

    python benchmarks/nano_gallery.py [--model nano] [--folder nano]

Nothing is chosen: the prompts are the benchmark's, one of a class, as `--first` begins, each with a
single candidate. Writes docs/nano/gallery.png.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # where configs/ lies

from audioldm2_jax import Pipeline
from audioldm2_jax.pictures import mel_picture
from benchmarks.nano import generated, prompts_of, real

TARGET = Path(__file__).parent.parent / "docs" / "nano" / "gallery.png"
ROWS, COLUMNS = 4, 5


def draw(prompts, made, own, path: Path) -> None:
    """Each prompt's generated clip above a real one."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    drawing, axes = plt.subplots(2 * ROWS, COLUMNS, figsize=(15, 11), constrained_layout=True)
    for i, prompt in enumerate(prompts):
        row, column = divmod(i, COLUMNS)
        pair = axes[2 * row : 2 * row + 2, column]
        pair[0].set_title(prompt.caption, size=9)
        for axis, wave, name in zip(pair, (made[i], own[i]), ("generated", "real")):
            axis.imshow(mel_picture(wave, 16000), aspect="auto")
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_ylabel(name, size=8)
    drawing.savefig(path, dpi=75)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="nano", help="checkpoint to show")
    parser.add_argument("--folder", type=Path, default=Path("nano"), help="that of `make nano`")
    parser.add_argument("--first", type=int, default=0, help="number of the first prompt")
    options = parser.parse_args()
    count = ROWS * COLUMNS
    prompts = prompts_of(options.folder / "held-raw", options.first + count)[options.first :]
    own = real(prompts)
    pipe = Pipeline.from_pretrained(options.model, progress=False)
    draw(prompts, generated(pipe, prompts, seed=0), own, TARGET)
    print(TARGET)


if __name__ == "__main__":
    main()
