"""Centroids of .npy files and of joblib's pickles, which are read without running them."""

import io
import pickle

import joblib
import numpy as np
import pytest
from sklearn.cluster import MiniBatchKMeans

from audioldm2_jax.checkpoints.centroid_files import read_centroids
from audioldm2_jax.errors import InputError

FEATURES = np.random.default_rng(0).standard_normal((60, 5))


@pytest.fixture(scope="module")
def model():
    return MiniBatchKMeans(4, n_init=1, random_state=np.random.RandomState(0)).fit(FEATURES)


@pytest.mark.parametrize("dtype", ["<f4", ">f8"])
@pytest.mark.parametrize("order", "CF")
def test_models_of_joblib(model, tmp_path, dtype, order):
    centroids = model.cluster_centers_
    model.cluster_centers_ = np.asarray(centroids, dtype, order=order)
    for protocol in (2, 4):
        joblib.dump(model, tmp_path / "km.bin", protocol=protocol)
        ours = read_centroids(tmp_path / "km.bin")
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, centroids.astype(np.float32))


def test_arrays(tmp_path):
    centroids = FEATURES[:4]
    np.save(tmp_path / "km.npy", centroids)
    joblib.dump(centroids, tmp_path / "km.bin")
    (tmp_path / "km.pkl").write_bytes(pickle.dumps({"cluster_centers_": centroids}, protocol=4))
    for name in ("km.npy", "km.bin", "km.pkl"):
        np.testing.assert_array_equal(read_centroids(tmp_path / name), np.float32(centroids))


class Hostile:
    def __reduce__(self):
        return (exec, ("raise SystemExit",))


def dumped(value, **options):
    file = io.BytesIO()
    joblib.dump(value, file, **options)
    return file.getvalue()


def saved(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (dumped(FEATURES)[:-8], "ValueError"),
        (dumped(FEATURES, compress=3), "compressed"),
        (dumped({"a": FEATURES}), "cluster_centers_"),
        (dumped(FEATURES[0]), "shape"),
        (dumped(np.arange(6).reshape(2, 3)), "int64"),
        (dumped(FEATURES * np.nan), "NaN"),
        (dumped(Hostile()), "exec"),
        (saved(FEATURES)[:-8], "npy"),
        (saved(FEATURES).replace(b"(60, 5)", b"(9**9,)"), "npy"),
        (saved(FEATURES).replace(b"(60, 5)", b"(60, 5("), "npy"),
        (saved(FEATURES.astype(object)), "npy"),
        (b"", "pickle"),
        (b"not a file of numbers", "pickle"),
    ],
)
def test_bad_files(tmp_path, content, word):
    (tmp_path / "km.bin").write_bytes(content)
    with pytest.raises(InputError, match=word):
        read_centroids(tmp_path / "km.bin")
