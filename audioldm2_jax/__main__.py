"""`python -m audioldm2_jax` is the command `audioldm2-jax`."""

import sys

from audioldm2_jax.cli.main import main

sys.exit(main())
