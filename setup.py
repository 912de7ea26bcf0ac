"""Package metadata; everything else is in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
namespace: dict = {}
for line in (here / "audioldm2_jax" / "__init__.py").read_text().splitlines():
    if line.startswith("__version__"):
        exec(line, namespace)

# Phonemes for speech; optional, for phonemizer and Unidecode are GPL.
TTS = ["phonemizer>=3.4", "espeakng-loader", "Unidecode"]
# Archives and lists that only some corpora come as.
CORPORA = ["ijson", "py7zr"]

setup(
    name="audioldm2-jax",
    version=namespace["__version__"],
    description="AudioLDM 2, AudioLDM and AudioLM in JAX: fast, exact text-to-audio, and training",
    long_description=(here / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["audioldm2_jax", "audioldm2_jax.*"]),
    # The models that come with the package; links among them are followed.
    package_data={"audioldm2_jax": ["bundled/*/*", "bundled/*/*/*"]},
    python_requires=">=3.11",
    install_requires=[
        "array_record",
        "jax>=0.10",
        "flax>=0.12",
        "optax",
        "orbax-checkpoint",
        "transformers>=5",
        "huggingface_hub",
        "safetensors",
        "tokenizers",
        "sentencepiece",
        "tensorflow-datasets",
        "importlib_resources",
        "grain",
        "librosa",
        "soundfile",
        "soxr",
        "ml-collections",
        "ml_dtypes",
        "numpy",
        "pillow",
        "psutil",
        "pyarrow",
        "scipy",
        "tensorboardX",
        "tqdm",
    ],
    extras_require={
        "cuda": ["jax[cuda13]>=0.10"],
        "tpu": ["jax[tpu]>=0.10"],
        "tts": TTS,
        "ui": ["gradio>=5"],
        "eval": ["scipy"],
        "corpora": CORPORA,
        "dev": [
            "torch==2.13.0",
            "diffusers>=0.42,<0.43",
            "accelerate",
            "libtpu",
            "matplotlib",
            "pyloudnorm",
            "pytest",
            "pytest-xdist",
            "ruff",
            *CORPORA,
            *TTS,
        ],
    },
    entry_points={"console_scripts": ["audioldm2-jax = audioldm2_jax.cli.main:main"]},
)
