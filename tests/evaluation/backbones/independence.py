"""The law of all backbones: a clip's features are its own."""

import jax
import numpy as np


def check_independence(opener, clips):
    """Clips together on eight devices are each clip alone on one device.

    opener: of a backbone, takes `devices`.
    """
    assert jax.local_device_count() == 8
    together, alone = opener(devices=None)(clips), opener(devices=jax.local_devices()[:1])
    for clip, output in zip(clips, together):
        (single,) = alone([clip])
        np.testing.assert_allclose(output.embeddings, single.embeddings, rtol=1e-5, atol=1e-5)
        assert (output.logits is None) == (single.logits is None)
        if output.logits is not None:
            np.testing.assert_allclose(output.logits, single.logits, rtol=1e-5, atol=1e-5)
