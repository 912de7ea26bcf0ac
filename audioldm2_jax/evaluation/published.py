"""The protocols of published toolkits. Each rule was read in the source at the commit it names."""

from __future__ import annotations

from dataclasses import replace

from audioldm2_jax.evaluation.rules import BackboneSpec, EvalProtocol, LoaderRules

# audioldm_eval/feature_extractors/panns/models.py; zenodo.org/record/3987831 and 3576403.
CNN14_16K, CNN14_32K = "Cnn14_16k_mAP=0.438.pth", "Cnn14_mAP=0.431.pth"
# torch.hub harritaylor/torchvggish: no PCA, the last ReLU removed.
VGGISH = "vggish-10086976.pth"


def audioldm_eval() -> EvalProtocol:
    """AudioLDM's and AudioLDM 2's toolkit with backbone cnn14 at 16 kHz.

    datasets/load_mel.py, WaveDataset: the first channel, minus its mean; torchaudio's resampling
    with its defaults; zeros up to 32000 samples. metrics/fad.py reads by it at 16 kHz too. The
    CLAP score is of branch passt_replace_panns (a2fde54), metrics/clap_score.py: WaveDataset at
    32 kHz, then torchaudio to 48 kHz; its first 10 s. That code also replaces a tenth of the
    embeddings by that of "" (unconditional_prob); this is not reproduced. The toolkit's default
    backbone has been MERT since 2024-09, whose figures mean nothing: cnn14 is what papers report.
    eval.py: LSD drops the first 160 * 7 samples of a generated clip, at 32 kHz too; a pair of
    infinite PSNR counts neither in PSNR nor in SSIM.
    """
    wave = LoaderRules(min_seconds=2.0)
    clap = LoaderRules(via_rate=32000, min_seconds=1.0, max_seconds=10.0)
    return EvalProtocol(
        "audioldm_eval",
        "haoheliu/audioldm_eval 8dc07ee, backbone cnn14 at 16 kHz (AudioLDM, AudioLDM 2)",
        (
            ("classifier", BackboneSpec("panns", 16000, CNN14_16K, wave)),
            ("fad", BackboneSpec("vggish", 16000, VGGISH, wave)),
            ("clap", _clap("music_speech_audioset_epoch_15_esc_89.98.pt", clap)),
        ),
        lsd_shift_samples=1120,
        skip_equal_pairs=True,
    )


def audioldm_eval_32k() -> EvalProtocol:
    """The same toolkit at 32 kHz: another Cnn14, and 32000 samples are 1 s."""
    wave = LoaderRules(min_seconds=1.0)
    return replace(
        audioldm_eval().with_slot("classifier", BackboneSpec("panns", 32000, CNN14_32K, wave)),
        name="audioldm_eval_32k",
        source="haoheliu/audioldm_eval 8dc07ee, backbone cnn14 at 32 kHz",
    )


def tango() -> EvalProtocol:
    """TANGO's fork of audioldm_eval.

    audioldm_eval/datasets/load_mel.py: as audioldm_eval, but 48 kHz becomes 16 kHz as x[::3], and
    32 kHz as x[::2] that is then resampled once more, so that such clips last half as long: the
    resampler "tango". metrics/fad.py, load_audio_task: 16-bit samples, the mean of the channels,
    32 kHz as x[::2], other rates by resampy: the resampler "tango_fad". CLAP: 630k-audioset-best
    by the authors' answer in issue 51, with laion_clap's own reader (LAION-AI/CLAP 1fd4c37,
    hook.py): librosa at 48 kHz, 16 bits, and a random crop of 10 s, here the first 10 s.
    """
    wave = LoaderRules(resampler="tango", min_seconds=2.0)
    fad = LoaderRules("mean", demean=False, int16="read", resampler="tango_fad")
    clap = LoaderRules("mean", demean=False, int16="clap", resampler="soxr_hq", max_seconds=10.0)
    return EvalProtocol(
        "tango",
        "declare-lab/tango 34ecd38, audioldm_eval/",
        (
            ("classifier", BackboneSpec("panns", 16000, CNN14_16K, wave)),
            ("fad", BackboneSpec("vggish", 16000, VGGISH, fad)),
            ("clap", _clap("630k-audioset-best.pt", clap)),
        ),
        lsd_shift_samples=1120,
        skip_equal_pairs=True,
    )


def stable_audio_metrics() -> EvalProtocol:
    """Stability AI's toolkit: FD by OpenL3, KL by PaSST (both absent here), CLAP with fusion.

    src/passt_kld.py: librosa at 32 kHz, mean of the channels, the peak at -1 dBFS; KL(generated ||
    reference). src/clap_score.py: the same at 48 kHz, then 16 bits. src/openl3_fd.py: the peak at
    -1 dBFS before soxr; both channels. AudioCaps there is 4875 captions, a copy of the reference
    for each, named by the captions' ids: such a reference folder has to be written beforehand.
    """
    classifier = LoaderRules(
        "mean", demean=False, peak_db=-1.0, peak_at="output", resampler="soxr_hq"
    )
    clap = replace(classifier, int16="clap")
    return EvalProtocol(
        "stable-audio-metrics",
        "Stability-AI/stable-audio-metrics fd55536",
        (
            (
                "classifier",
                BackboneSpec("passt", 32000, "passt-s-f128-p16-s10-ap.476-swa.pt", classifier),
            ),
            (
                "fd",
                BackboneSpec(
                    "openl3",
                    44100,
                    "openl3_audio_mel256_env-v0_4_0.h5.gz",
                    replace(classifier, peak_at="input"),
                    hop_seconds=0.5,
                ),
            ),
            ("clap", _clap("630k-audioset-fusion-best.pt", clap)),
        ),
        kl_direction="generated||reference",
        pairing="stem",
        paired_share=0.0,
    )


def audiocraft() -> EvalProtocol:
    """MusicGen's and AudioGen's toolkit: FAD by Google's code, KL by PaSST (absent here).

    data/audio_utils.py, convert_audio: julius, then the mean of the channels. metrics/fad.py
    writes 16-bit files with the peak at -1 dBFS, and runs google-research's
    frechet_audio_distance: a patch from each second, 0.5 s apart (model_step_size 8000), of
    samples divided by the largest one (audioset_model.py, normalize). metrics/clap_consistency.py:
    laion_clap without 16 bits; its random crop of 10 s is the first 10 s here.
    config/solver/musicgen: PaSST of 20 s (10 s for AudioGen), and HTSAT-base trained on music.
    """
    wave = LoaderRules("mean", demean=False, resampler="julius")
    fad = replace(wave, peak_db=-1.0, peak_at="output", int16="write", full_scale=True)
    clap = replace(wave, max_seconds=10.0)
    return EvalProtocol(
        "audiocraft",
        "facebookresearch/audiocraft 896ec7c, config/solver/musicgen",
        (
            (
                "classifier",
                BackboneSpec("passt", 32000, "passt-s-f128-20sec-p16-s10-ap.474-swa.pt", wave),
            ),
            ("fad", BackboneSpec("vggish", 16000, VGGISH, fad, hop_seconds=0.5)),
            ("clap", _clap("music_audioset_epoch_15_esc_90.14.pt", clap)),
        ),
        pairing="stem",
    )


def kadtk() -> EvalProtocol:
    """kadtk, whose reader is fadtk's.

    kadtk/emb_loader.py: the mean of the channels, torchaudio's Kaiser resampling, written to and
    read from 16-bit files. kadtk/model_loader.py: panns-cnn14-16k, vggish, clap-laion-audio.
    kad.py takes the bandwidth of the generated set; its FAD-infinity is fadtk's fad.py, which draws
    rows with replacement. It stores embeddings as float16; this is not reproduced.
    """
    wave = LoaderRules("mean", demean=False, int16="write", resampler="sinc_kaiser")
    return EvalProtocol(
        "kadtk",
        "YoonjinXD/kadtk 8bda71d (its reader is that of microsoft/fadtk ec74b1f)",
        (
            ("classifier", BackboneSpec("panns", 16000, CNN14_16K, wave)),
            ("fad", BackboneSpec("vggish", 16000, VGGISH, wave)),
            ("clap", _clap("630k-audioset-best.pt", wave)),
        ),
        kad_bandwidth="generated",
        fad_inf_replace=True,
        pairing="stem",
    )


def musicnn() -> EvalProtocol:
    """musicnn's published weights, which come inside its wheel: no download is needed.

    musicnn/extractor.py: librosa at 16 kHz, the mean of the channels; patches of 187 frames of 256
    samples, so that 3 s are needed.
    """
    wave = LoaderRules("mean", demean=False, resampler="soxr_hq", min_seconds=3.0)
    tagger = BackboneSpec("musicnn", 16000, "MTT_musicnn", wave)
    return EvalProtocol(
        "musicnn",
        "jordipons/musicnn 516acb2, musicnn/extractor.py",
        (("classifier", tagger), ("fad", tagger)),
        pairing="stem",
    )


def _clap(weights: str, loader: LoaderRules) -> BackboneSpec:
    return BackboneSpec("clap", 48000, weights, loader)


ALL = (
    audioldm_eval(),
    audioldm_eval_32k(),
    tango(),
    stable_audio_metrics(),
    audiocraft(),
    kadtk(),
    musicnn(),
)
