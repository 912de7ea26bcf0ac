"""Warnings before a run: missing texts, a warm-up that does not end, tiny batches."""

from __future__ import annotations

from audioldm2_jax.data.corpus import reader
from audioldm2_jax.data.loading.stream import CorpusSource
from audioldm2_jax.errors import InputError
from audioldm2_jax.training.run import Run, sources_of
from audioldm2_jax.training.spec import TextSpec

# Clips of a corpus whose texts are looked at.
LOOKED_AT = 256


def check_texts(run: Run, sources: str = "") -> list[str]:
    """Lines on clips without the texts that the stage reads. sources: by default those trained on.

    Raises InputError where no clip has one: the stage would train on empty texts.
    """
    lines = []
    for what, counted, lacks in kinds_of(run.spec.batch.texts):
        shares = {}
        for source in sources_of(sources or run.config.data.sources):
            shares[f"{source.path} ({source.split})"] = share_without(source, counted, lacks)
        if all(share == 1 for share in shares.values()):
            raise InputError(
                f"data.sources {run.config.data.sources}: no clip has a {what}, which stage "
                f"{run.config.stage} trains on; prepare the corpus with {what}s (docs/data.md)"
            )
        lines += [
            f"{name}: {share:.0%} of the clips have no {what}; they train on an empty text"
            for name, share in shares.items()
            if share
        ]
    return lines


def kinds_of(texts: tuple[TextSpec, ...]):
    """(name of a text, its name in a corpus' counts, whether an example lacks it) of all read."""
    sources = {text.source for text in texts}
    if "transcript" in sources:
        yield "transcript", "transcribed", lambda example: not example["transcript"].strip()
    if "caption" in sources:
        # Labels stand in for captions.
        yield "caption", "described", _undescribed


def _undescribed(example) -> bool:
    return not any(text.strip() for text in (*example["captions"], *example["labels"]))


def share_without(source: CorpusSource, counted: str, lacks) -> float:
    """The share of clips that lack a text: as the corpus counts, else of some all over it."""
    if counts := reader.text_counts(source.path, source.split):
        return 1 - counts[counted] / max(1, counts["clips"])
    examples = reader.open_split(source.path, source.split)
    count = min(len(examples), LOOKED_AT)
    looked_at = without = 0
    for number in range(count):
        try:
            example = examples[number * len(examples) // count]
        except Exception:  # a damaged record is counted where it is read to train on
            continue
        looked_at += 1
        without += lacks(example)
    return without / looked_at if looked_at else 0.0


def remarks(run: Run, clips: int) -> list[str]:
    """Lines on values that fit together but hardly as meant. clips: of the corpora."""
    config, lines = run.config, []
    warmup, steps = config.optim.warmup, config.steps
    if 2 * warmup > steps:
        rate = config.optim.learning_rate
        when = "at step" if warmup <= steps else "never, for the run ends before step"
        lines.append(
            f"optim.warmup is {warmup} and the run {steps} steps: the learning rate {rate:g} is "
            f"reached {when} {warmup}; try --config.optim.warmup={max(1, steps // 20)}"
        )
    if clips < config.batch:
        lines.append(
            f"{clips} clips are fewer than a batch of {config.batch}: each is in it several times"
        )
    if config.accumulate > 1 and run.info.compares_clips:
        lines.append(
            f"accumulate is {config.accumulate}: negatives are of the micro-batches of "
            f"{config.batch // config.accumulate} clips"
        )
    return lines
