"""What the commands under these laws read, made once."""

import pytest

from tests.laws.commands import write_inputs


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("laws"))
