"""Leaves the tests of `data/` out of the wheel; everything else is in pyproject.toml."""

from setuptools import setup
from setuptools.command.build_py import build_py


class WithoutTests(build_py):
    """`data/` holds each builder's test beside it, and what these tests share."""

    def find_package_modules(self, package, package_dir):
        modules = super().find_package_modules(package, package_dir)
        shared = package == "audioldm2_jax.corpora"
        return [m for m in modules if not (m[1].endswith("_test") or (shared and m[1] in SHARED))]


SHARED = ("archives", "conftest")

setup(cmdclass={"build_py": WithoutTests})
