"""Study, Figure 2: scores over training steps on ESC-50, four curves.

audioldm2-jax reproduce study_figure2 --train
The runs are those of study_table2's ESC-50 rows to 240 thousand steps, with a finer grid. What they
cost is printed before they start; nothing is trained without --train.
"""

from audioldm2_jax.configs.tables.study_table2 import ESC50, STARTS, training
from audioldm2_jax.evaluation.tables import Row, Table

STEPS = (5_000, 10_000, *range(20_000, 240_001, 20_000))

TABLE = Table(
    name="study_figure2",
    title="AudioLDM's benchmark study, Figure 2: scores over training steps on ESC-50",
    source="arXiv 2303.03857, Figure 2 (curves; no values are published)",
    protocol="audioldm_eval",
    columns=("FD", "IS", "KL", "FAD"),
    rows=tuple(
        Row(
            f"{start}-{condition}",
            f"AudioLDM {start}, trained on {condition}",
            ESC50,
            training(start, condition, STEPS),
        )
        for start, condition in reversed(STARTS)
    ),
    notes=(
        "The study's words: pre-trained on text converges in about 20 thousand steps; pre-training "
        "beats scratch, and text beats audio, on this corpus.",
    ),
)
