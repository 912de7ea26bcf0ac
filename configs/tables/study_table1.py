"""Study, Table I: a pre-trained AudioLDM on four corpora, by text and by audio condition.

audioldm2-jax reproduce study_table1 --rows "esc50-*" --corpus esc50=corpora/esc50
An audio condition is CLAP's vector of the reference clip, which takes CLAP's audio tower: convert
the authors' file, which holds it. All rows of one condition are about 4200 clips of 3 candidates
and 200 guided steps: 5 million evaluations of the U-Net; --limit 100 runs a part.
"""

from audioldm2_jax.evaluation.tables import Corpus, Generation, Model, Row, Table, published

CHECKPOINT = "cvssp/audioldm-s-full"
# AudioLDM's own sampling: DDIM with fresh noise, the best of three by CLAP.
GENERATION = Generation("ddim", steps=200, eta=1.0, guidance=2.5, candidates=3)
ESC50 = Corpus("esc50", "fold5", "{labels}", seconds=5.0, note="400 clips, 8 of each class")
US8K = Corpus(
    "urbansound8k",
    "+".join(f"fold{i}" for i in range(1, 11)),
    "{labels}",
    selection="random",
    count=870,
    seconds=5.0,
)
AUDIOCAPS = Corpus("audiocaps", "test", "{caption}", note="one caption a clip, the first")
AUDIOSET = Corpus("audioset", "eval", "{labels}", selection="random", count=2034)
FIGURES = (
    ("esc50", ESC50, (60.63, 5.55, 3.01, 5.95), (47.46, 6.68, 2.08, 4.81)),
    ("us8k", US8K, (31.20, 3.88, 2.20, 10.00), (32.79, 4.04, 1.44, 13.74)),
    ("audiocaps", AUDIOCAPS, (23.63, 6.68, 2.36, 4.94), (21.37, 6.65, 1.78, 2.18)),
    ("audioset", AUDIOSET, (20.30, 7.56, 2.34, 4.26), (19.04, 6.72, 1.63, 1.52)),
)


def row(name, corpus, condition, figures):
    """A corpus by one condition."""
    cells = published(**dict(zip(("FD", "IS", "KL", "FAD"), figures)))
    clips = Model(CHECKPOINT, condition, GENERATION)
    return Row(f"{name}-{condition}", f"AudioLDM, {condition}", corpus, clips, cells)


TABLE = Table(
    name="study_table1",
    title="AudioLDM's benchmark study, Table I: pre-trained model without fine-tuning",
    source="arXiv 2303.03857, Table I",
    protocol="audioldm_eval",
    columns=("FD", "IS", "KL", "FAD"),
    rows=tuple(
        row(name, corpus, condition, figures)
        for name, corpus, *both in FIGURES
        for condition, figures in zip(("text", "audio"), both)
    ),
    notes=(
        "The study names neither the size of its AudioLDM nor guidance and steps: S, and the "
        "authors' settings, are ours.",
        "The study's lists of clips are unpublished; ESC-50's is a fold, the others are drawn by "
        "name (audioldm2_jax/evaluation/benchmark/selection.py).",
    ),
)
