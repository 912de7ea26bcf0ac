"""Runs timm's VisionTransformer on drawn weights and records what it computes.

As tests/oracles/authors.py, by hand: with timm and torchvision on PYTHONPATH, python
tests/oracles/timm_vit.py. (timm is no test dependency, for it brings torchvision, whose operators
the CPU's build of torch lacks.)
"""

from __future__ import annotations

import torch
from authors import fill, record, stand_ins, tensor

ARGUMENTS = {
    "img_size": [64, 32],
    "in_chans": 1,
    "patch_size": 16,
    "embed_dim": 48,
    "depth": 4,
    "num_heads": 4,
    "mlp_ratio": 2.0,
    "num_classes": 0,
}


def main() -> None:
    stand_ins()
    torch.set_grad_enabled(False)
    import timm

    for pool in ("token", "avg"):
        # As `timm.create_model` does with a hub file's config.json.
        model = timm.create_model("vit_base_patch16_224", **ARGUMENTS, global_pool=pool)
        tensors = fill(model)
        norm = model.norm if pool == "token" else model.fc_norm
        blocks = model.forward_intermediates(
            tensor("fbank", 2, 1, 64, 32), norm=False, return_prefix_tokens=True, output_fmt="NLC"
        )[1]
        states = [norm(torch.cat([prefix, patches], 1)) for patches, prefix in blocks]
        outputs = {"last": states[-1], "mean of three": torch.stack(states[-3:]).mean(0)}
        record(f"timm-{pool}", tensors, outputs)


if __name__ == "__main__":
    main()
