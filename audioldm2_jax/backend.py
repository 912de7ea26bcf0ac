"""What every command asks of JAX' backend: the persistent compilation cache."""

from __future__ import annotations

import os
from pathlib import Path

import jax


def enable_cache() -> str | None:
    """Turns on the persistent compilation cache, unless the user set one; returns its folder."""
    if not jax.config.jax_compilation_cache_dir:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(home / "audioldm2-jax" / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    return jax.config.jax_compilation_cache_dir
