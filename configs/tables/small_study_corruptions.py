"""The study's Figure 1 at the scale of two cores: which metric sees which corruption.

python -m audioldm2_jax.recipes.study.build --until corpora
audioldm2-jax reproduce small_study_corruptions --corpus esc50=study/esc \\
    --weights classifier=benchmarks/judges/panns
The clips are those that small_study_runs is evaluated on; the vocoder is the embedded model's.
"""

from audioldm2_jax.configs.study.common import CORPORA, METRICS
from audioldm2_jax.configs.tables.study_figure1 import DIRECTIONS
from audioldm2_jax.evaluation.tables import Corrupted, Row, Table, published

TABLE = Table(
    name="small_study_corruptions",
    title="AudioLDM's benchmark study at small scale: four corruptions and four metrics",
    source="arXiv 2303.03857, section 3 and Figure 1 (directions; no values are published)",
    protocol="musicnn",
    columns=METRICS,
    rows=tuple(
        Row(
            kind,
            f"{kind} of 0 to 100 % of the clips",
            CORPORA["esc"],
            Corrupted(kind, vocoder="nano"),
            published(**dict(zip(METRICS, words))),
        )
        for kind, words in DIRECTIONS.items()
    ),
)
