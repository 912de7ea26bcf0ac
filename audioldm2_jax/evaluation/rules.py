"""What a protocol of evaluation consists of: rules of loading, networks, and rules of metrics."""

from __future__ import annotations

from dataclasses import dataclass, replace

from audioldm2_jax.errors import InputError

CHANNELS = ("first", "mean")
INT16 = ("", "read", "write", "clap")
PEAK_AT = ("input", "output")
KL_DIRECTIONS = ("reference||generated", "generated||reference")
PAIRINGS = ("name", "stem")
KAD_BANDWIDTHS = ("reference", "generated")
RESAMPLERS = ("sinc_hann", "sinc_kaiser", "soxr_hq", "julius", "resampy", "decimate")
RESAMPLERS += ("tango", "tango_fad")

# Backbones that protocols name but that this package lacks -> what they are.
UNAVAILABLE = {
    "openl3": "OpenL3 (openl3_audio_mel256_env) is not implemented",
    "passt": "PaSST (passt_s_swa_p16_128_ap476) is not implemented",
    "mert": "MERT-v1-95M is not implemented, and has no class probabilities",
}
# Metric key -> slots that serve it, the preferred first.
METRIC_SLOTS = {
    "FD": ("fd", "classifier"),
    "KL": ("classifier",),
    "KL_sigmoid": ("classifier",),
    "IS": ("classifier",),
    "KID": ("fd", "classifier"),
    "KAD": ("fd", "classifier"),
    "FAD": ("fad",),
    "FAD_inf": ("fad",),
    "CLAP": ("clap",),
    "R@1": ("clap",),
    "R@5": ("clap",),
    "R@10": ("clap",),
    "mAP@10": ("clap",),
}


def one_of(field: str, value: str, words: tuple[str, ...]) -> None:
    """Raises InputError, naming the field, for a value that is none of the words."""
    if value not in words:
        raise InputError(
            f"{field} {value!r}: choose one of {' '.join(w or repr(w) for w in words)}"
        )


@dataclass(frozen=True)
class LoaderRules:
    """How a clip's file becomes the samples that a network reads.

    channels: "first" or "mean". demean: subtracts the mean, before resampling. int16: "read" cuts
    to 16 bits at reading; "write" rounds to them at the end, as toolkits do that write files for
    their networks; "clap" does so at the end as LAION's CLAP does. peak_db: the peak in dBFS that
    a clip is scaled to, "input" before or "output" after resampling. via_rate: a rate in Hz that a
    clip is resampled to first. full_scale: divides by the largest sample, or by 0.1 where it is
    smaller, as Google's FAD does. min_seconds: zeros fill up shorter clips. max_seconds: only the
    first seconds are kept. Raises InputError for other words.
    """

    channels: str = "first"
    demean: bool = True
    int16: str = ""
    peak_db: float | None = None
    peak_at: str = "input"
    via_rate: int | None = None
    resampler: str = "sinc_hann"
    full_scale: bool = False
    min_seconds: float = 0.0
    max_seconds: float | None = None

    def __post_init__(self):
        one_of("channels", self.channels, CHANNELS)
        one_of("int16", self.int16, INT16)
        one_of("peak_at", self.peak_at, PEAK_AT)
        one_of("resampler", self.resampler, RESAMPLERS)
        if self.max_seconds is not None and self.max_seconds < self.min_seconds:
            raise InputError(
                f"max_seconds {self.max_seconds} is below min_seconds {self.min_seconds}"
            )


@dataclass(frozen=True)
class BackboneSpec:
    """A network of a protocol.

    name: of `evaluation.backbones`, or of UNAVAILABLE. sample_rate: Hz. weights: the published
    file's name. loader: how clips are read for it. hop_seconds: the step between patches, 0 for
    the network's own; VGGish at 0.5 takes a patch from each second that fits, as Google's FAD does.
    """

    name: str
    sample_rate: int
    weights: str
    loader: LoaderRules = LoaderRules()
    hop_seconds: float = 0.0


@dataclass(frozen=True)
class EvalProtocol:
    """Everything but the weights' bytes that decides a figure.

    source: the repository and commit whose figures it reproduces. slots: pairs of a slot and its
    network: "classifier" (KL, IS, and what has no slot of its own), "fd", "fad", "clap".
    kl_direction, kl_epsilon: the KL divergence, with the epsilon inside the second logarithm.
    is_*, kid_*: splits, subsets and seeds. kad_bandwidth: the set ("reference" or "generated")
    whose median distance is the bandwidth of KAD's kernel. fad_inf_replace: whether FAD-infinity
    draws rows with replacement. lsd_shift_samples: samples that LSD cuts from a generated clip's
    start. skip_equal_pairs: whether SSIM leaves out pairs of infinite PSNR, too. pairing: clips are
    paired by file name or by its stem. paired_share: paired metrics need pairs for more than this
    share of both sets.
    limit: only the first clips by name. Raises InputError for other words.
    """

    name: str
    source: str
    slots: tuple[tuple[str, BackboneSpec], ...]
    kl_direction: str = "reference||generated"
    kl_epsilon: float = 1e-6
    is_splits: int = 10
    is_seed: int = 2020
    kid_subsets: int = 100
    kid_subset_size: int = 1000
    kid_seed: int = 2020
    kad_bandwidth: str = "reference"
    fad_inf_replace: bool = False
    lsd_shift_samples: int = 0
    skip_equal_pairs: bool = False
    pairing: str = "name"
    paired_share: float = 0.99
    limit: int | None = None

    def __post_init__(self):
        one_of("kl_direction", self.kl_direction, KL_DIRECTIONS)
        one_of("kad_bandwidth", self.kad_bandwidth, KAD_BANDWIDTHS)
        one_of("pairing", self.pairing, PAIRINGS)
        if self.lsd_shift_samples < 0:
            raise InputError(f"lsd_shift_samples {self.lsd_shift_samples}: 0 or more are expected")
        if self.limit is not None and self.limit < 1:
            raise InputError(f"limit {self.limit}: at least one clip is needed")

    def slot(self, name: str) -> BackboneSpec | None:
        """The network of a slot; None if the protocol has none."""
        return dict(self.slots).get(name)

    def backbone_for(self, metric: str) -> BackboneSpec | None:
        """The network whose features a metric key compares; None if the protocol has none."""
        specs = (self.slot(name) for name in METRIC_SLOTS.get(metric, ()))
        return next((spec for spec in specs if spec), None)

    def absence(self, metric: str) -> str:
        """Why the protocol gives no figure of a metric of METRIC_SLOTS; "" where it gives one."""
        spec = self.backbone_for(metric)
        if spec is None:
            return f"the protocol {self.name} has no network for {metric}"
        return UNAVAILABLE.get(spec.name, "")

    def with_slot(self, name: str, spec: BackboneSpec) -> EvalProtocol:
        """The protocol with another network in one slot."""
        slots = {**dict(self.slots), name: spec}
        return replace(self, slots=tuple(slots.items()))
