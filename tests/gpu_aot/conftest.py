"""These tests compile for GPUs that are not there; `make gpu-aot` installs what they need.

Elsewhere, and so in `make test`, they are not collected.
"""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("jax_cuda13_plugin") else ["test_*.py"]
