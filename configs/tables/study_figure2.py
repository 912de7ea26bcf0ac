"""Study, Figure 2: scores over training steps on ESC-50, four curves.

audioldm2-jax reproduce study_figure2 --train
The runs are those of study_table2's ESC-50 rows to 240 thousand steps, with a finer grid. What they
cost is printed before they start; nothing is trained without --train.
"""

from audioldm2_jax.evaluation.tables import Corpus, Generation, Row, Table, Training

ESC50 = Corpus("esc50", "fold5", "{labels}", train_split="fold1+fold2+fold3+fold4", seconds=5.0)
STEPS = (5_000, 10_000, *range(20_000, 240_001, 20_000))
GENERATION = Generation("ddim", steps=200, eta=1.0, guidance=2.5)
CURVES = (
    ("pretrained", "text"),
    ("pretrained", "audio"),
    ("scratch", "text"),
    ("scratch", "audio"),
)

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
            Training(
                "audioldm:s",
                "cvssp/audioldm-s-full",
                STEPS,
                (
                    f"init_from_base={start == 'pretrained'}",
                    f"settings.p_clap_audio={1.0 if condition == 'audio' else 0.0}",
                    "batch=8",
                ),
                GENERATION,
            ),
        )
        for start, condition in CURVES
    ),
    notes=(
        "The study's words: pre-trained on text converges in about 20 thousand steps; pre-training "
        "beats scratch, and text beats audio, on this corpus.",
    ),
)
