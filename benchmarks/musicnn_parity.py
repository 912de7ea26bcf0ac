"""MusicNN here against the package itself in TensorFlow, on the published weights.

The package takes TensorFlow of the 1.x interface and NumPy below 2, and so an environment of its
own. docs/backbones.md has the results; `compare` writes results/musicnn-parity.json. Three steps:

    pip download musicnn --no-deps -d wheel && unzip -q wheel/musicnn-*.whl -d package
    pip install --target tf "tensorflow-cpu==2.15.1" "numpy==1.26.4"
    python benchmarks/musicnn_parity.py clips work              # here
    PYTHONPATH=tf:package python -S benchmarks/musicnn_parity.py package work
    python benchmarks/musicnn_parity.py compare work package    # here
"""

import datetime
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
RATE, FRAMES, MODELS = 16000, 187, ("MTT_musicnn", "MSD_musicnn")


def write_clips(work):
    """Chords with a beat, noise, a sweep, and quiet chords, of 7 s; librosa's mels of them."""
    import librosa

    rng, t = np.random.default_rng(0), np.arange(7 * RATE) / RATE
    tones = [np.sin(2 * np.pi * f * k * t) / k for f in (220, 277.18, 329.63) for k in range(1, 6)]
    chord = 0.1 * np.sum(tones, 0) * np.exp(-3 * (t % 0.5))
    beat = 0.3 * rng.standard_normal(len(t)) * np.exp(-40 * (t % 0.25))
    noise = 0.01 * rng.standard_normal(len(t))
    sweep = 0.5 * np.sin(2 * np.pi * (100 * t + 400 * t**2))
    clips = np.stack([chord + beat, noise, sweep, 1e-3 * chord]).astype(np.float32)
    settings = {"sr": RATE, "hop_length": 256, "n_fft": 512, "n_mels": 96, "pad_mode": "reflect"}
    mels = [librosa.feature.melspectrogram(y=clip, **settings).T for clip in clips]
    np.savez(work / "clips.npz", clips=clips, mels=mels)


def run_package(work):
    """The package's graph and checkpoints, as its extractor.py runs them."""
    import tensorflow as tf

    tf.compat.v1.disable_eager_execution()
    from musicnn import models

    folder = Path(models.__file__).parent
    results = {"tensorflow": np.array(tf.__version__), "numpy": np.array(np.__version__)}
    for model in MODELS:
        tf.compat.v1.reset_default_graph()
        x = tf.compat.v1.placeholder(tf.float32, [None, FRAMES, 96])
        training = tf.compat.v1.placeholder(tf.bool)
        logits, *_, penultimate = models.define_model(x, training, model, 50)
        session = tf.compat.v1.Session()
        tf.compat.v1.train.Saver().restore(session, f"{folder / model}/")
        for i, mel in enumerate(np.load(work / "clips.npz")["mels"]):
            mel = np.log10(10000 * mel.astype(np.float16) + 1)
            assert mel.dtype == np.float32, "NumPy below 2 is needed"
            patches = [mel[s : s + FRAMES] for s in range(0, len(mel) - FRAMES + 1, FRAMES)]
            values = session.run(
                [tf.nn.sigmoid(logits), penultimate], {x: np.stack(patches), training: False}
            )
            results |= {f"{model}_{i}_tags": values[0], f"{model}_{i}": values[1]}
    np.savez(work / "package.npz", **results)


def compare(work, package):
    """Prints and writes the largest differences of embeddings and of clips' probabilities."""
    from audioldm2_jax import files
    from audioldm2_jax.evaluation.backbones.musicnn import MusicNN

    theirs, clips = np.load(work / "package.npz"), np.load(work / "clips.npz")["clips"]
    rows = {}
    for model in MODELS:
        for i, output in enumerate(MusicNN(package, model)(list(clips))):
            embeddings, tags = theirs[f"{model}_{i}"], theirs[f"{model}_{i}_tags"].mean(0)
            ours = 1 / (1 + np.exp(-output.logits))
            rows[f"{model} clip {i}"] = row = {
                "embeddings": float(np.abs(output.embeddings - embeddings).max()),
                "largest embedding": float(np.abs(embeddings).max()),
                "probabilities": float(np.abs(ours - tags).max()),
            }
            print(f"{model} clip {i}:", ", ".join(f"{k} {v:.1e}" for k, v in row.items()))
    about = {"date": datetime.date.today().isoformat(), "jax": version("jax")}
    about |= {"tensorflow": str(theirs["tensorflow"]), "numpy there": str(theirs["numpy"])}
    files.write_json(HERE / "results" / "musicnn-parity.json", about | {"differences": rows})


if __name__ == "__main__":
    step, work, *package = sys.argv[1:]
    Path(work).mkdir(exist_ok=True)
    steps = {"clips": write_clips, "package": run_package, "compare": compare}
    steps[step](Path(work), *package)
