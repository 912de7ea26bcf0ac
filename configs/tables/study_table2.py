"""Study, Table II: AudioLDM from scratch or fine-tuned, trained on audio or on text.

audioldm2-jax reproduce study_table2 --rows "esc50-*" --train
Sampling is by text. A row is a training run, scored every 20 thousand steps and at the step of its
published best; the best over the steps, by each metric on the test set as in the study, and the
last are both reported. UrbanSound8K's scratch-text was best at 350 thousand, so that run keeps a
state every 10 thousand steps, twice as many as the others. What a run costs is printed before it
starts; nothing is trained without --train.
"""

from audioldm2_jax.evaluation.tables import Corpus, Generation, Row, Table, Training, published

BASE = "cvssp/audioldm-s-full"
GENERATION = Generation("ddim", steps=200, eta=1.0, guidance=2.5, candidates=1)
FOLDS = "+".join(f"fold{i}" for i in range(1, 11))
ESC50 = Corpus("esc50", "fold5", "{labels}", train_split="fold1+fold2+fold3+fold4", seconds=5.0)
US8K = Corpus(
    "urbansound8k",
    FOLDS,
    "{labels}",
    selection="random",
    count=870,
    train_split=FOLDS,
    seconds=5.0,
)
AUDIOCAPS = Corpus("audiocaps", "test", "{caption}", train_split="train")
# (corpus, its name, last step in thousands), then FD, IS, KL, FAD and the step of the best score,
# in thousands, of scratch-audio, scratch-text, pretrained-audio, pretrained-text.
FIGURES = (
    (
        ("esc50", ESC50, 240),
        ((44.75, 7.44, 3.31, 4.02), 240),
        ((30.74, 10.22, 1.84, 3.28), 160),
        ((36.43, 11.15, 2.15, 4.41), 180),
        ((22.38, 12.98, 1.56, 2.66), 80),
    ),
    (
        ("us8k", US8K, 360),
        ((33.69, 3.73, 2.04, 5.75), 160),
        ((28.45, 5.00, 1.87, 4.45), 350),
        ((31.21, 3.84, 2.11, 7.39), 20),
        ((28.44, 4.91, 1.88, 4.88), 240),
    ),
    (
        ("audiocaps", AUDIOCAPS, 480),
        ((24.04, 7.12, 2.20, 2.98), 480),
        ((24.84, 6.91, 2.25, 2.47), 480),
        ((23.57, 7.21, 2.09, 2.98), 80),
        ((25.78, 7.95, 2.26, 1.67), 240),
    ),
)
STARTS = (
    ("scratch", "audio"),
    ("scratch", "text"),
    ("pretrained", "audio"),
    ("pretrained", "text"),
)


def training(start: str, condition: str, steps: tuple[int, ...]) -> Training:
    """A run that is scored at some steps."""
    return Training(
        "audioldm:s",
        BASE,
        steps,
        (
            f"init_from_base={start == 'pretrained'}",
            f"settings.p_clap_audio={1.0 if condition == 'audio' else 0.0}",
            "batch=8",
        ),
        GENERATION,
    )


def row(name, corpus, last, start, condition, figures, best):
    """A run that is scored every 20 thousand steps and at the published best. Both in thousands."""
    cells = published(**dict(zip(("FD", "IS", "KL", "FAD"), figures)))
    system = f"AudioLDM {start}, trained on {condition}"
    steps = tuple(1000 * thousands for thousands in sorted({*range(20, last + 1, 20), best}))
    clips = training(start, condition, steps)
    note = f"published best at {best} thousand steps"
    return Row(f"{name}-{start}-{condition}", system, corpus, clips, cells, note)


TABLE = Table(
    name="study_table2",
    title="AudioLDM's benchmark study, Table II: scratch and pre-trained, audio and text",
    source="arXiv 2303.03857, Table II; which rows are pre-trained is read from its prose",
    protocol="audioldm_eval",
    columns=("FD", "IS", "KL", "FAD"),
    rows=tuple(
        row(*corpus, *start, *cells)
        for corpus, *runs in FIGURES
        for start, cells in zip(STARTS, runs)
    ),
    notes=(
        "The study takes the best score over training steps on the test set, perhaps of different "
        "steps for different metrics: an optimistic choice. Ours is given both ways.",
        "Learning rate, batch, guidance and sampling steps are not published: AudioLDM's are used.",
    ),
)
