"""Published networks that come inside wheels and judge clips offline, one small adapter a file.

A new judge is a file that ends with its `JUDGE`, and a line in `JUDGES`.
"""

from audioldm2_jax.evaluation.judges import dnsmos, notes, pitch, voices, words
from audioldm2_jax.evaluation.judges.base import Judge, Scores  # noqa: F401

JUDGES: dict[str, Judge] = {
    module.JUDGE.name: module.JUDGE for module in (words, dnsmos, voices, notes, pitch)
}
