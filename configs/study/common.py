"""The rows of the study at small scale: corpora, models, runs and sampling.

The figures beside ours are the paper's (arXiv 2303.03857): of real corpora, 200 times the clips of
pre-training and other networks; only their order can be compared.
"""

from audioldm2_jax.configs.study.audioldm import FOLDER, STEPS
from audioldm2_jax.configs.tables import study_table2
from audioldm2_jax.evaluation.tables import Corpus, Generation, Row, Training, published
from audioldm2_jax.recipes.study.corpora import EVALUATED, TRAINED

METRICS = ("FD", "IS", "KL", "FAD")
# The model's own sampler and guidance; 25 steps as it was chosen for the embedded model.
GENERATION = Generation(sampler=None, steps=25)
CORPORA = {
    name: Corpus(corpus, EVALUATED[name], "{labels}", train_split=TRAINED[name], seconds=2.56)
    for name, corpus in (("esc", "esc50"), ("us8k", "urbansound8k"))
}


# Of a cell of the paper's Table II: {(corpus, start, condition): figures}.
PAPER = {
    (name, *start): figures
    for (name, *_), *runs in study_table2.FIGURES
    for start, (figures, _) in zip(study_table2.STARTS, runs)
}
PAPER_NAMES = {"esc": "esc50", "us8k": "us8k"}


def run_row(corpus: str, start: str, condition: str, seed: int) -> Row:
    """A training run. start: scratch or pretrained; condition: text or audio, in training."""
    overrides = (
        f"init_from_base={start == 'pretrained'}",
        f"settings.p_clap_audio={1.0 if condition == 'audio' else 0.0}",
        f"data.sources={FOLDER}/{corpus}-encoded:{TRAINED[corpus]}",
        f"seed={seed}",
    )
    base = f"{FOLDER}/models/{'pretrained' if start == 'pretrained' else 'start'}"
    return Row(
        f"{corpus}-{start}-{condition}-{seed}",
        f"{corpus}, {start}, trained on {condition}, seed {seed}",
        CORPORA[corpus],
        Training("study/audioldm:finetune", base, STEPS, overrides, GENERATION),
        published(**dict(zip(METRICS, PAPER[PAPER_NAMES[corpus], start, condition]))),
    )
