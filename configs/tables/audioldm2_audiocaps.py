"""AudioLDM 2, Table II with the ablations of Table V: text to sound on AudioCaps.

audioldm2-jax reproduce audioldm2_audiocaps --rows audioldm2-full \\
    --corpus audiocaps=corpora/audiocaps
The AC checkpoints, which the best figures are of, were never released. Users of the released ones
got FAD about 2.7 and KL about 1.3 (AudioLDM2, issue 42). A row of 964 clips,
3 candidates and 200 guided steps is 1.2 million evaluations of the U-Net.
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

AUDIOCAPS = Corpus("audiocaps", "test", "{caption}", note="964 clips in the authors' code")
GENERATION = Generation("ddim", steps=200, eta=1.0, guidance=3.5, candidates=3)
COLUMNS = ("FAD", "KL", "CLAP", "OVL", "REL")
UNRELEASED = Outputs("the checkpoint was not released")


def row(name, system, clips, figures, note=""):
    """A row; figures in the order of COLUMNS, None where none is published."""
    cells = {c: f for c, f in zip(COLUMNS, figures) if f is not None}
    return Row(name, system, AUDIOCAPS, clips, published(**cells), note)


TABLE = Table(
    name="audioldm2_audiocaps",
    title="AudioLDM 2, Tables II and V: text to sound on AudioCaps",
    source="arXiv 2308.05734, Tables II and V (from a digest; KL and CLAP of ablations not in it)",
    protocol="audioldm_eval",
    columns=COLUMNS,
    rows=(
        row("ground-truth", "ground truth", Recordings(), (None, None, 0.251, 4.04, 4.08)),
        row(
            "gt-audiomae",
            "GT-AudioMAE",
            Outputs("clips whose LOA is AudioMAE's of the recordings (Pipeline, loa=)"),
            (1.84, 0.19, 0.239, 3.87, 4.02),
            "upper bound",
        ),
        row("audiogen-large", "AudioGen-Large", Outputs("audiocraft"), (1.82, 1.69), "1B"),
        row("make-an-audio", "Make-an-Audio", Outputs("the authors' code"), (2.66, 1.61), "453M"),
        row(
            "audioldm-large",
            "AudioLDM-Large",
            UNRELEASED,
            (1.96, 1.59),
            "739M, fine-tuned on AudioCaps",
        ),
        row(
            "audioldm-m",
            "AudioLDM-M",
            Model("cvssp/audioldm-m-full", generation=GENERATION),
            (4.53, 1.99, 0.141, 3.61, 3.55),
            "416M",
        ),
        row(
            "make-an-audio-2",
            "Make-an-Audio 2",
            Outputs("the authors' code"),
            (2.05, 1.27, 0.173, 3.68, 3.62),
            "937M",
        ),
        row(
            "tango", "TANGO", Outputs("declare-lab/tango"), (1.73, 1.27, 0.176, 3.75, 3.72), "866M"
        ),
        row(
            "audioldm2-ac",
            "AudioLDM 2-AC",
            UNRELEASED,
            (1.67, 1.01, 0.249, 3.88, 3.90),
            "346M",
        ),
        row(
            "audioldm2-full",
            "AudioLDM 2-Full",
            Model("cvssp/audioldm2", generation=GENERATION),
            (1.78, 1.60, 0.191, 3.83, 3.77),
            "346M",
        ),
        row(
            "audioldm2-ac-large",
            "AudioLDM 2-AC-Large",
            UNRELEASED,
            (1.42, 0.98, 0.243, 3.89, 3.87),
            "712M",
        ),
        row(
            "audioldm2-full-large",
            "AudioLDM 2-Full-Large",
            Model("cvssp/audioldm2-large", generation=GENERATION),
            (1.86, 1.64, 0.182, 3.79, 3.80),
            "712M",
        ),
        row("no-joint", "AC without joint fine-tuning", UNRELEASED, (2.24,), "ablation"),
        row("no-clap", "AC without CLAP into GPT-2", UNRELEASED, (2.48,), "ablation"),
        row("no-t5", "AC without FLAN-T5 into GPT-2", UNRELEASED, (2.73,), "ablation"),
        row("no-t5-unet", "AC without T5 in the U-Net", UNRELEASED, (1.38,), "ablation"),
        row(
            "text-only",
            "AC with text straight into GPT-2",
            UNRELEASED,
            (2.11, 1.06),
            "ablation: neither CLAP nor T5",
        ),
    ),
)
