"""Study, Figure 1: which metric sees which corruption, over the share of corrupted clips.

audioldm2-jax reproduce study_figure1 --corpus esc50=corpora/esc50
The clips are the corpus' own, so that no model but a vocoder is needed. Clean
clips pass the same vocoder as noisy and masked ones, so that a share of 0 is a distance of 0.
"""

from audioldm2_jax.evaluation.tables import Corpus, Corrupted, Row, Table, published

ESC50 = Corpus("esc50", "fold5", "{labels}")
# Directions in the study's words; it publishes no values.
DIRECTIONS = {
    "noise": ("rises fast", "falls fast", "rises fast", "rises fast"),
    "masking": ("rises", "falls", "rises", "rises"),
    "interference": ("rises", "no change", "no change", "rises"),
    "order": ("rises", "no change", "no change", "no change"),
}

TABLE = Table(
    name="study_figure1",
    title="AudioLDM's benchmark study, Figure 1: four corruptions and four metrics",
    source="arXiv 2303.03857, section 3 and Figure 1 (directions; no values are published)",
    protocol="audioldm_eval",
    columns=("FD", "IS", "KL", "FAD"),
    rows=tuple(
        Row(
            kind,
            f"{kind} of 0 to 100 % of the clips",
            ESC50,
            Corrupted(kind),
            published(**dict(zip(("FD", "IS", "KL", "FAD"), words))),
        )
        for kind, words in DIRECTIONS.items()
    ),
    notes=(
        "The study names neither corpus nor grid: ESC-50's fold 5 and steps of 20 % are ours; for "
        "the order of events, clips of five events of 2 s.",
        "The study's conclusion says that only FD sees irrelevant sounds, its text FD and FAD.",
    ),
)
