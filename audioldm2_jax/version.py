"""The package's version: read here by the code, by metadata of clips and by the build."""

__version__ = "0.1.0"
