"""Our evaluation against its peers: the same weights and clips, equal figures, and the time.

    python benchmarks/evaluation.py --audioldm_eval FOLDER --kadtk FOLDER --torchvggish FOLDER \
        --packages FOLDER [--clips 60] [--repeats 5] [--tables 3] [--parts values rates]

FOLDERs are clones of haoheliu/audioldm_eval, YoonjinXD/kadtk and harritaylor/torchvggish;
`pip install --no-deps --target PACKAGES torchaudio torchlibrosa resampy hypy-utils` installs what
they import. Weights are random, in the published files' layout, so that nothing is downloaded.
Each toolkit computes in its own processes. Replaces the parts that it ran in
benchmarks/results/evaluation-cpu.json and prints the tables of docs/evaluation.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from importlib.metadata import distributions, version
from pathlib import Path

import numpy as np
import timing
from versus_diffusers import _processor

HERE = Path(__file__).parent
PEERS = ("audioldm_eval", "kadtk")
SECONDS, FEW, TOLERANCE = 10, 12, 1e-3
CNN14 = "Cnn14_16k_mAP=0.438.pth"
VGGISH, PCA = "vggish-10086976.pth", "vggish_pca_params-970ea276.pth"
NETWORKS = {"panns": "Cnn14", "vggish": "VGGish"}


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in (*PEERS, "torchvggish"):
        parser.add_argument(f"--{name}", type=Path, required=True, help="a clone of the repository")
    parser.add_argument("--packages", type=Path, required=True, help="what the peers import")
    parser.add_argument("--clips", type=int, default=60, help="of each of the two sets")
    parser.add_argument("--repeats", type=int, default=5, help="samples of each network's rate")
    parser.add_argument("--tables", type=int, default=3, help="samples of each whole table")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    folder = Path(tempfile.gettempdir()) / "audioldm2-evaluation-benchmark"
    parser.add_argument("--folder", type=Path, default=folder, help="inputs are kept there")
    return parser.parse_args()


def write_clips(folder: Path, count: int) -> None:
    """Two sets of soundscapes, paired by name: 16 kHz mono, 32 and 44.1 kHz stereo in turn."""
    import soundfile

    from audioldm2_jax.audio import resample
    from audioldm2_jax.data.soundscapes import make_clip

    for seed, name in enumerate(("reference", "generated")):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            wave, rate = make_clip(seed, i, seconds=SECONDS).audio, (16000, 32000, 44100)[i % 3]
            if rate > 16000:
                wave = resample(np.stack([wave, 0.5 * np.roll(wave, 80)]), 16000, rate).T
            soundfile.write(folder / name / f"{i:04}.wav", wave, rate, subtype="PCM_16")
    (folder / "few").mkdir()
    for path in sorted((folder / "reference").iterdir())[:FEW]:
        os.link(path, folder / "few" / path.name)
    for peer in PEERS:  # which write caches beside the clips
        for name in ("reference", "generated", "few"):
            shutil.copytree(folder / name, folder / peer / name, copy_function=os.link)


def layer(random, name: str, shape: tuple, bias: bool = True) -> dict[str, np.ndarray]:
    """A random layer before a ReLU, which keeps the power of its input. shape: torch's."""
    weight = np.sqrt(2 / np.prod(shape[1:])) * random.standard_normal(shape)
    state = {f"{name}.weight": weight}
    return state | ({f"{name}.bias": 0.1 * random.standard_normal(shape[0])} if bias else {})


def norm(random, name: str, width: int, mean: float = 0.0, scale: float = 1.0) -> dict:
    """A batch norm of inputs of this mean and standard deviation."""
    return {
        f"{name}.weight": 1 + 0.1 * random.standard_normal(width),
        f"{name}.bias": 0.1 * random.standard_normal(width),
        f"{name}.running_mean": mean + 0.1 * scale * random.standard_normal(width),
        f"{name}.running_var": scale**2 * (1 + 0.1 * random.random(width)),
    }


def cnn14_state() -> dict[str, np.ndarray]:
    """Cnn14 of 16 kHz with random weights, and the constants of torchlibrosa's front end."""
    import librosa

    random, widths = np.random.default_rng(0), (1, 64, 128, 256, 512, 1024, 2048)
    state = norm(random, "bn0", 64, mean=-40, scale=20)  # dB
    for i, (narrow, wide) in enumerate(zip(widths, widths[1:]), 1):
        for j, width in ((1, narrow), (2, wide)):
            block = f"conv_block{i}"
            state |= layer(random, f"{block}.conv{j}", (wide, width, 3, 3), bias=False)
            state |= norm(random, f"{block}.bn{j}", wide)
    state |= layer(random, "fc1", (2048, 2048)) | layer(random, "fc_audioset", (527, 2048))
    state["fc_audioset.weight"] *= 4  # clips of different classes
    basis = np.fft.fft(np.eye(512))[:257] * librosa.filters.get_window("hann", 512)
    mel = librosa.filters.mel(sr=16000, n_fft=512, n_mels=64, fmin=50, fmax=8000)
    return state | {
        "spectrogram_extractor.stft.conv_real.weight": basis.real[:, None],
        "spectrogram_extractor.stft.conv_imag.weight": basis.imag[:, None],
        "logmel_extractor.melW": mel.T,
    }


def vggish_state() -> dict[str, np.ndarray]:
    """torchvggish's tensors with random weights."""
    random, state = np.random.default_rng(0), {}
    channels = {0: (1, 64), 3: (64, 128), 6: (128, 256), 8: (256, 256), 11: (256, 512)}
    for i, (narrow, wide) in (channels | {13: (512, 512)}).items():
        state |= layer(random, f"features.{i}", (wide, narrow, 3, 3))
    widths = (512 * 4 * 6, 4096, 4096, 128)
    for i in range(3):
        state |= layer(random, f"embeddings.{2 * i}", (widths[i + 1], widths[i]))
    return state


def write_weights(folder: Path) -> None:
    """The files where each toolkit looks for its download."""
    import torch

    def tensors(state):
        arrays = {key: np.array(value, np.float32) for key, value in state.items()}
        return {key: torch.from_numpy(array) for key, array in arrays.items()}

    (folder / "weights").mkdir(parents=True, exist_ok=True)
    torch.save({"model": tensors(cnn14_state())}, folder / "weights" / CNN14)
    torch.save(tensors(vggish_state()), folder / "weights" / VGGISH)
    pca = {"pca_eigen_vectors": torch.eye(128), "pca_means": torch.zeros(128, 1)}  # not used
    torch.save(pca, folder / "weights" / PCA)
    for place, name in {
        f"home/.cache/audioldm_eval/ckpt/{CNN14}": CNN14,
        "home/.cache/audioldm_eval/ckpt/Cnn14_mAP=0.431.pth": CNN14,  # only looked for
        f"kadtk/.model-checkpoints/{CNN14}": CNN14,
        f"home/torch/hub/checkpoints/{VGGISH}": VGGISH,
        f"home/torch/hub/checkpoints/{PCA}": PCA,
    }.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        os.link(folder / "weights" / name, folder / place)


def write_inputs(folder: Path, count: int) -> None:
    if not (folder / f"ready {count}").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        write_clips(folder, count)
        write_weights(folder)
        (folder / f"ready {count}").touch()


class Toolkit:
    """A toolkit in a process of its own."""

    def __init__(self, name: str, args, cache: Path | None = None):
        """cache: of compiled programs; None for one that stays."""
        peers = {peer: str(getattr(args, peer).resolve()) for peer in (*PEERS, "torchvggish")}
        peers["packages"] = str(args.packages.resolve())
        settings = {"toolkit": name, "folder": str(args.folder.resolve()), "peers": peers}
        home = args.folder.resolve() / "home"
        environment = os.environ | {
            "EVALUATION_BENCHMARK": json.dumps(settings),
            "XDG_CACHE_HOME": str((cache or args.folder / "programs").resolve()),
            "TORCH_HOME": str(home / "torch"),
            "HF_HUB_OFFLINE": "1",
        }
        if name != "ours":
            environment["HOME"] = str(home)
        self.name, self.log = name, (args.folder / f"{name}.log").open("w")
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "evaluation_worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=environment,
            text=True,
        )

    def __call__(self, task: str):
        """What the toolkit answers to a task."""
        self.process.stdin.write(task + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name}: {task} failed; see {self.log.name}")
        return json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()
        self.log.close()


def compare_values(theirs: str, args) -> dict:
    """Each figure of both, and the relative difference."""
    rows: dict[str, dict] = {}
    with Toolkit("ours", args) as ours, Toolkit(theirs, args) as peer:
        mine, other = ours(theirs), peer(theirs)
        if "FAD_inf" in other:
            other |= peer("float64")
    for metric, value in other.items():
        ours_value = mine[metric.split()[0]]
        difference = abs(ours_value / value - 1)
        rows[f"{theirs}: {metric}"] = {
            "ours": ours_value,
            "theirs": value,
            "relative difference": difference,
            "equal": difference <= TOLERANCE,
        }
    return rows


def compare_rates(theirs: str, args) -> dict:
    """Clips per second of each network, reading included: both warm, alternating."""
    rows = {}
    with Toolkit("ours", args) as ours, Toolkit(theirs, args) as peer:
        for network, title in NETWORKS.items():
            runs = partial(ours, f"{network} {theirs}"), partial(peer, network)
            row = timing.compare(*runs, repeats=args.repeats)
            rows[f"{theirs}: {title} of {FEW} clips"] = _with_ratios(row)
    return rows


def compare_tables(theirs: str, args) -> dict:
    """All figures of a peer: both warm, alternating."""
    with Toolkit("ours", args) as ours, Toolkit(theirs, args) as peer:
        row = timing.compare(lambda: ours(theirs), lambda: peer(theirs), repeats=args.tables)
    return {f"{theirs}: table of 2 x {args.clips} clips": _with_ratios(row)}


def compare_processes(theirs: str, args) -> dict:
    """All figures of a peer in new processes, from their start on, alternating.

    first: no earlier process of ours has compiled anything; later: one has.
    """

    def run(name: str, cache: Path | None = None):
        with Toolkit(name, args, cache) as toolkit:
            toolkit(theirs)

    def first():
        cache = Path(tempfile.mkdtemp(prefix="programs-", dir=args.folder))
        run("ours", cache)
        shutil.rmtree(cache)

    run("ours")
    runs = {"first": first, "later": lambda: run("ours"), "theirs": lambda: run(theirs)}
    row = timing.alternate(runs, args.tables)
    return {f"{theirs}: table of 2 x {args.clips} clips, new process": _with_ratios(row)}


def _with_ratios(row: dict) -> dict:
    """The row with theirs / ours, in time and in processor time."""
    row.pop("ratio", None)
    for name in ("ours", "first", "later"):
        if name in row:
            row[f"theirs / {name}"] = row["theirs"] / row[name]
            row[f"theirs / {name}, processor"] = row["theirs_processor"] / row[f"{name}_processor"]
    return row


PARTS = {
    "values": compare_values,
    "rates": compare_rates,
    "tables": compare_tables,
    "processes": compare_processes,
}


def main():
    args = options()
    write_inputs(args.folder, args.clips)
    for part in args.parts:
        rows = {}
        for peer in PEERS:
            rows |= PARTS[part](peer, args)
        write_result(args, part, rows)


def commit(folder: Path) -> str:
    """The commit of a clone, in short."""
    command = ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def write_result(args, part: str, rows: dict) -> None:
    """Replaces one part of the JSON file, and prints the table of that part."""
    from audioldm2_jax import files

    path = HERE / "results" / "evaluation-cpu.json"
    result = json.loads(path.read_text()) if path.is_file() else {}
    theirs = {d.metadata["Name"]: d.version for d in distributions(path=[str(args.packages)])}
    result[part] = {
        "date": datetime.date.today().isoformat(),
        "hardware": _processor(),
        "threads": os.cpu_count(),
        "clips": f"2 sets of {args.clips} of {SECONDS} s; 16 kHz mono, 32 and 44.1 kHz stereo",
        "weights": "random, Cnn14 at 16 kHz and VGGish at their published sizes",
        "peers": {peer: commit(getattr(args, peer)) for peer in (*PEERS, "torchvggish")},
        "stand_ins": "torchaudio.load and .save by soundfile; torchaudio without its native "
        "library; empty modules for scikit-image and ssr_eval, which these figures do not use",
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("jax", "torch", "numpy", "scipy", "soundfile")}
        | theirs,
        "rows": rows,
    }
    files.write_json(path, result)
    (print_values if part == "values" else print_seconds)(rows)


def print_values(rows: dict) -> None:
    """A table of docs/evaluation.md."""
    print("| figure | ours | theirs | relative difference |\n| --- | --- | --- | --- |")
    for name, row in rows.items():
        numbers = f"{row['ours']:.6g} | {row['theirs']:.6g} | {row['relative difference']:.1e}"
        print(f"| {name} | {numbers} |")


def print_seconds(rows: dict) -> None:
    """A table of docs/evaluation.md."""
    print("| what | ours, s | theirs, s | theirs / ours | of processor time | clean samples |")
    print("| --- " * 6 + "|")
    for name, row in rows.items():
        for who in ("ours", "first", "later"):
            if who in row:
                title = name if who == "ours" else f"{name}, {who}"
                ratios = f"{row[f'theirs / {who}']:.2f} | {row[f'theirs / {who}, processor']:.2f}"
                clean = f"{row[f'{who}_clean']}, {row['theirs_clean']}"
                print(f"| {title} | {row[who]:.2f} | {row['theirs']:.2f} | {ratios} | {clean} |")


if __name__ == "__main__":
    main()
