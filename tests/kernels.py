"""Programs of tests that are about other things than the CPU's kernels, which compile for long."""

from audioldm2_jax.backend import Backend


def xla_kernels(monkeypatch) -> None:
    """Programs traced from here on use XLA's convolutions and attention, as on accelerators.

    `tests/models/kernels` compares both, values and gradients.
    """
    monkeypatch.setattr(Backend, "cpu_kernels", False)
