"""CLAP score and retrieval of captioned clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from audioldm2_jax.evaluation.backbones.base import Backbone
from audioldm2_jax.evaluation.features import Features
from audioldm2_jax.evaluation.metrics.clap import clap_score
from audioldm2_jax.evaluation.metrics.retrieval import average_precisions, hits, relevant_ranks

RECALLS = {"R@1": 1, "R@5": 5, "R@10": 10}


@dataclass
class CaptionedClips:
    """The N clips that have a caption, in the space of one network.

    features: of all clips, one row each; captions: {position of a clip: its caption}. The network
    reads the captions once, for all metrics.
    """

    network: Backbone
    features: Features
    captions: Mapping[int, str]

    def __len__(self) -> int:
        return len(self.captions)

    @property
    def names(self) -> list[str]:
        """Names of the clips: [N]."""
        return [self.features.names[i] for i in self.captions]

    @cached_property
    def audio(self) -> np.ndarray:
        """Embeddings of the clips: [N, D]."""
        return self.features.embeddings[list(self.captions)]

    @cached_property
    def text(self) -> np.ndarray:
        """Embeddings of the captions: [N, D]."""
        return self.network.text_features(list(self.captions.values()))

    @cached_property
    def ranks(self) -> list[np.ndarray]:
        """The rank of each caption's own clip among all clips."""
        return relevant_ranks(self.text, self.audio)

    def scores(self) -> np.ndarray:
        """The CLAP score of each clip: [N]."""
        return clap_score(self.text, self.audio)

    def retrieval(self, metric: str) -> np.ndarray:
        """R@k or mAP@10 of each caption: [N]."""
        if metric in RECALLS:
            return hits(self.ranks, RECALLS[metric])
        return average_precisions(self.ranks, 10)
