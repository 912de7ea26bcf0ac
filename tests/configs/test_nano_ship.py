"""Shipping: half precision, links where models share, moved as a whole."""

import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from audioldm2_jax import tree
from audioldm2_jax.checkpoints import hub
from audioldm2_jax.data.untrained import write_random
from audioldm2_jax.recipes.nano import build, ship


@pytest.fixture
def models(tmp_path):
    """Untrained and tiny, of the form that `make nano` leaves."""
    models = tmp_path / "models"
    sound = models / ship.MODELS["nano"]
    write_random(sound, "tiny")
    write_random(models / "speech-joint", "tiny-speech", seed=1)
    for part in build.SHARED:
        if (sound / part).is_dir():
            shutil.rmtree(models / "speech-joint" / part)
            shutil.copytree(sound / part, models / "speech-joint" / part)
    return models


@pytest.mark.slow
def test_what_ships_is_what_was_trained(models, tmp_path):
    for _ in range(2):  # the second time over what is there
        folders = ship.ship(models, tmp_path / "made")
    assert [folder.name for folder in folders] == ["nano", "nano-speech"]
    place = tmp_path / "moved"
    (tmp_path / "made").rename(place)
    for name, stage in ship.MODELS.items():
        shipped, trained = hub.load(place / name), hub.load(models / stage)
        assert shipped.config == trained.config
        for half, full in zip(*(tree.flatten(x.params).values() for x in (shipped, trained))):
            full = np.asarray(full.astype(jnp.bfloat16), np.float32)
            np.testing.assert_array_equal(np.asarray(half, np.float32), full)
    assert not any((place / "nano-speech" / part).exists() for part in ("vae", "text_encoder"))


def test_other_shared_parts_are_refused(models, tmp_path):
    changed = hub.load(models / ship.MODELS["nano"])
    changed.params["vae"]["quant"]["bias"] += 1
    hub.save(changed, tmp_path / "changed")
    shutil.rmtree(models / "speech-joint" / "vae")
    shutil.copytree(tmp_path / "changed" / "vae", models / "speech-joint" / "vae")
    with pytest.raises(SystemExit, match="vae/.* is not that of .*: train speech anew"):
        ship.ship(models, tmp_path / "made")


def test_judges(tmp_path):
    (tmp_path / "models" / "panns").mkdir(parents=True)
    (tmp_path / "models" / "panns" / "config.json").write_text("{}")
    assert ship.ship_judges(tmp_path / "models", tmp_path / "made") == [tmp_path / "made/panns"]
    assert (tmp_path / "made/panns/config.json").read_text() == "{}"
