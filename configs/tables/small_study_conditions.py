"""The study's Table I at the scale of two cores: the pre-trained model by text and by sound.

python -m audioldm2_jax.recipes.study.build --until pretrain
audioldm2-jax reproduce small_study_conditions --corpus esc50=study/esc \\
    --corpus urbansound8k=study/us8k --weights classifier=benchmarks/judges/panns
Networks, corpora and model are those of small_study_runs.
"""

from audioldm2_jax.configs.study.audioldm import FOLDER
from audioldm2_jax.configs.study.common import CORPORA, GENERATION, METRICS, PAPER_NAMES
from audioldm2_jax.configs.tables import study_table1
from audioldm2_jax.evaluation.tables import Model, Row, Table, published

PAPER = {name: figures for name, _, *figures in study_table1.FIGURES}


def row(corpus: str, condition: str, figures) -> Row:
    """A corpus by one condition."""
    return Row(
        f"{corpus}-{condition}",
        f"{corpus}, by {condition}",
        CORPORA[corpus],
        Model(f"{FOLDER}/models/pretrained", condition, GENERATION),
        published(**dict(zip(METRICS, figures))),
    )


TABLE = Table(
    name="small_study_conditions",
    title="AudioLDM's benchmark study at small scale: conditions of the pre-trained model",
    source="arXiv 2303.03857, Table I: real corpora and AudioLDM, so only orders can be compared",
    protocol="musicnn",
    columns=METRICS,
    rows=tuple(
        row(corpus, condition, figures)
        for corpus in CORPORA
        for condition, figures in zip(("text", "audio"), PAPER[PAPER_NAMES[corpus]])
    ),
)
