"""AudioLDM 2, Table IV: text to speech on LJSpeech.

audioldm2-jax reproduce audioldm2_ljspeech --corpus ljspeech=corpora/ljspeech
The paper has listeners' scores alone. What programs hear stands beside: word and character errors,
DNSMOS, and how near the voice is to the recording's.
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

LJSPEECH = Corpus("ljspeech", "train", "{transcript}", selection="random", count=200)
GENERATION = Generation("ddim", steps=200, eta=1.0, guidance=3.5)


def row(name, system, clips, mos=None, note=""):
    """A row; mos: (mean, half interval)."""
    return Row(name, system, LJSPEECH, clips, published(MOS=mos) if mos else (), note)


TABLE = Table(
    name="audioldm2_ljspeech",
    title="AudioLDM 2, Table IV: text to speech on LJSpeech",
    source="arXiv 2308.05734, Table IV (from a digest): mean opinion scores",
    protocol="audioldm_eval",
    columns=("MOS", "WER", "CER", "DNSMOS_OVRL", "speaker_similarity"),
    rows=(
        row("ground-truth", "ground truth", Recordings(), (4.63, 0.08)),
        row(
            "gt-audiomae",
            "GT-AudioMAE",
            Outputs("clips whose LOA is AudioMAE's of the recordings (Pipeline, loa=)"),
            (4.14, 0.13),
        ),
        row("fastspeech2", "FastSpeech2", Outputs("the authors' code"), (3.78, 0.15)),
        row(
            "audioldm2-ljs",
            "AudioLDM 2-LJS",
            Model("anhnct/audioldm2_ljspeech", generation=GENERATION),
            (3.65, 0.21),
            "a community checkpoint stands in for the authors'",
        ),
        row(
            "audioldm2-ljs-pretrained",
            "AudioLDM 2-LJS-Pretrained",
            Outputs("the checkpoint was not released"),
            (4.00, 0.13),
            "GPT-2 pre-trained on GigaSpeech",
        ),
        row(
            "audioldm2-gigaspeech",
            "AudioLDM 2-GIG",
            Model("anhnct/audioldm2_gigaspeech", generation=GENERATION),
            None,
            "another voice; not in the paper's table",
        ),
    ),
    notes=("The paper does not name its test sentences: 200 clips drawn by name are ours.",),
)
