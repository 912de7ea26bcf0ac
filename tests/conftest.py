"""Eight host devices, quick compilation, caches of the run's own: set before JAX is imported."""

import atexit
import gc
import os
import shutil
import signal
import tempfile

import psutil
import pytest

# A shell's background jobs ignore Ctrl-C, and so would the commands that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Tiny models spend their time in the compiler; what it computes is the same.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
if "PYTEST_XDIST_WORKER" not in os.environ:
    # One folder for all workers and the commands that tests start.
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="audioldm2-jax-tests-")
    atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)
os.environ["JAX_COMPILATION_CACHE_DIR"] = os.path.join(os.environ["XDG_CACHE_HOME"], "xla")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.3"


def pytest_addoption(parser):
    group = parser.getgroup("fuzz", "tests/fuzz: damaged input files and odd options")
    group.addoption("--fuzz-seconds", type=float, default=60.0, help="of all targets together")
    group.addoption("--fuzz-seed", default="0", help="the same seed gives the same cases")
    group.addoption("--fuzz-case", default=None, help="only the case of this number")


@pytest.fixture(scope="module", autouse=True)
def bounded_memory():
    """Compiled programs of earlier modules go where a worker holds more than 4 GB."""
    yield
    if psutil.Process().memory_info().rss > 4e9:
        import jax

        jax.clear_caches()
        gc.collect()
