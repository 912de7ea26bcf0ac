"""The study's Table II and Figure 2 at the scale of two cores: eight runs, three seeds.

python -m audioldm2_jax.recipes.study.build
audioldm2-jax reproduce small_study_runs --train --corpus esc50=study/esc \\
    --corpus urbansound8k=study/us8k --weights classifier=benchmarks/judges/panns
The corpora have the shapes of ESC-50 and UrbanSound8K and are synthetic field recordings; the
model is small (recipes/study, docs/study.md). FD, KL and IS are by the embedded model's judge, FAD
by musicnn's published weights.
"""

import itertools

from audioldm2_jax.configs.study.common import METRICS, run_row
from audioldm2_jax.evaluation.tables import Table

SEEDS = (0, 1, 2)

TABLE = Table(
    name="small_study_runs",
    title="AudioLDM's benchmark study at small scale: scratch and pre-trained, text and audio",
    source="arXiv 2303.03857, Table II: real corpora and AudioLDM, so only orders can be compared",
    protocol="musicnn",
    columns=METRICS,
    rows=tuple(
        run_row(corpus, start, condition, seed)
        for seed, corpus, start, condition in itertools.product(
            SEEDS, ("esc", "us8k"), ("pretrained", "scratch"), ("text", "audio")
        )
    ),
)
