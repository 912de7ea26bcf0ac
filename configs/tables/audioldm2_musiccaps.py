"""AudioLDM 2, Table III: text to music on MusicCaps.

audioldm2-jax reproduce audioldm2_musiccaps --rows audioldm2-full \\
    --corpus musiccaps=corpora/musiccaps
A row of 5400 clips, 3 candidates and 200 guided steps is 6.5 million evaluations of the U-Net;
--limit 500 runs a part.
"""

from audioldm2_jax.evaluation.tables import (
    Corpus,
    Generation,
    Model,
    Outputs,
    Recordings,
    Row,
    Table,
    published,
)

MUSICCAPS = Corpus("musiccaps", "train+eval", "{caption}", note="clips that can still be had")
GENERATION = Generation("ddim", steps=200, eta=1.0, guidance=3.5, candidates=3)
COLUMNS = ("FAD", "KL", "CLAP", "OVL", "REL")


def row(name, system, clips, figures, note=""):
    """A row; figures in the order of COLUMNS, None where none is published."""
    cells = {c: f for c, f in zip(COLUMNS, figures) if f is not None}
    return Row(name, system, MUSICCAPS, clips, published(**cells), note)


def model(checkpoint):
    """A published checkpoint with the paper's sampling."""
    return Model(checkpoint, generation=GENERATION)


TABLE = Table(
    name="audioldm2_musiccaps",
    title="AudioLDM 2, Table III: text to music on MusicCaps",
    source="arXiv 2308.05734, Table III (from a digest)",
    protocol="audioldm_eval",
    columns=COLUMNS,
    rows=(
        row("ground-truth", "ground truth", Recordings(), (None, None, 0.253, 3.82, 4.26)),
        row(
            "gt-audiomae",
            "GT-AudioMAE",
            Outputs("clips whose LOA is AudioMAE's of the recordings (Pipeline, loa=)"),
            (2.18, 0.27, 0.257, 3.59, 3.92),
            "upper bound",
        ),
        row("riffusion", "Riffusion", Outputs("riffusion"), (14.80, 2.06, 0.190)),
        row("mousai", "Mousai", Outputs("the authors' code"), (7.50, 1.59)),
        row("melody", "MeLoDy", Outputs("not released"), (5.41,)),
        row("musiclm", "MusicLM", Outputs("not released"), (4.00,)),
        row(
            "musicgen-reported",
            "MusicGen-Medium",
            Outputs("audiocraft"),
            (3.4, 1.23, 0.320),
            "as its authors report",
        ),
        row(
            "musicgen-rerun",
            "MusicGen-Medium rerun",
            Outputs("audiocraft"),
            (4.89, 1.35, 0.291, 3.37, 3.38),
            "as AudioLDM 2's authors ran it",
        ),
        row(
            "audioldm-m",
            "AudioLDM-M",
            model("cvssp/audioldm-m-full"),
            (3.20, 1.29, 0.360, 3.03, 3.25),
            "as AudioLDM 2's authors ran it",
        ),
        row(
            "audioldm2-msd",
            "AudioLDM 2-MSD",
            Outputs("the checkpoint was not released"),
            (4.47, 1.32, 0.294, 3.41, 3.30),
        ),
        row(
            "audioldm2-full",
            "AudioLDM 2-Full",
            model("cvssp/audioldm2"),
            (3.13, 1.20, 0.301, 3.34, 3.54),
        ),
        row(
            "audioldm2-music",
            "AudioLDM 2-Music (released later)",
            model("cvssp/audioldm2-music"),
            (),
            "not in the paper",
        ),
    ),
)
