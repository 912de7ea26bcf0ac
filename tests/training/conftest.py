"""Training compiles XLA's kernels here, in half the time of the CPU's own (tests/kernels.py)."""

import pytest

from tests.kernels import xla_kernels


@pytest.fixture(autouse=True)
def kernels(request, monkeypatch):
    """XLA's kernels, but for tests marked `cpu_kernels`: those train as a user's CPU does."""
    if request.node.get_closest_marker("cpu_kernels") is None:
        xla_kernels(monkeypatch)
