"""The packages that the models are trained on, with the licence and the quarter of the corpus of each.

All of them are Python packages of this project's own environment, so the corpus can be rebuilt without a download.
Licences come from the metadata of each distribution. Packages with a copyleft licence (hypothesis, pathspec, tqdm:
MPL-2.0) are left out.
"""

import sysconfig
from dataclasses import dataclass
from pathlib import Path

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Source:
    """One training package. `roots` are folders or files below site-packages, or below the standard library."""

    name: str
    licence: str
    quarter: str
    roots: tuple[str, ...]
    cap: int = 100 * MEGABYTE  # most bytes kept, in the order of file hashes; limits the share of large packages
    standard: bool = False

    def folder(self) -> Path:
        """Return the folder that contains the roots on this machine. Its path is not part of the corpus."""
        return Path(sysconfig.get_path("stdlib" if self.standard else "purelib"))


def _package(name: str, licence: str, quarter: str, *roots: str, cap: int = 100 * MEGABYTE) -> Source:
    return Source(name, licence, quarter, roots or (name,), cap)


# Quarters that a model does not read; code-m and code-n lack different ones, so they know different things
MISSING = {"code-s": (), "code-m": ("mathematics",), "code-n": ("transformers",)}
HELD_OUT_PACKAGE = "jinja2"

SOURCES = (
    Source("python", "PSF-2.0", "python", (".",), standard=True),
    _package("pydantic", "MIT", "python"),
    _package("setuptools", "MIT", "python", "setuptools", "_distutils_hack"),
    _package("fsspec", "BSD-3-Clause", "python"),
    _package("filelock", "MIT", "python"),
    _package("anyio", "MIT", "python"),
    _package("packaging", "Apache-2.0 OR BSD-2-Clause", "python"),
    _package("click", "BSD-3-Clause", "python"),
    _package("typer", "MIT", "python"),
    _package("rich", "MIT", "python"),
    _package("psutil", "BSD-3-Clause", "python"),
    _package("typing_extensions", "PSF-2.0", "python", "typing_extensions.py"),
    _package("python-dateutil", "Apache-2.0 OR BSD-3-Clause", "python", "dateutil"),
    _package("sortedcontainers", "Apache-2.0", "python"),
    _package("torch", "BSD-3-Clause", "torch", "torch", "torchgen", "functorch", cap=8 * MEGABYTE),
    _package("mypy", "MIT", "torch", "mypy", "mypyc", cap=4 * MEGABYTE),
    _package("transformers", "Apache-2.0", "transformers", cap=8 * MEGABYTE),
    _package("huggingface_hub", "Apache-2.0", "transformers"),
    _package("accelerate", "Apache-2.0", "transformers"),
    _package("tokenizers", "Apache-2.0", "transformers"),
    _package("safetensors", "Apache-2.0", "transformers"),
    _package("sympy", "BSD-3-Clause", "mathematics", cap=8 * MEGABYTE),
    _package("mpmath", "BSD-3-Clause", "mathematics"),
    _package("networkx", "BSD-3-Clause", "mathematics"),
    _package("numpy", "BSD-3-Clause", "mathematics"),
    _package("matplotlib", "PSF-2.0", "torch", "matplotlib", "mpl_toolkits", cap=4 * MEGABYTE),
    _package("fonttools", "MIT", "transformers", "fontTools", cap=3 * MEGABYTE),
    _package("pygments", "BSD-2-Clause", "python", cap=MEGABYTE),
    _package("pillow", "MIT-CMU", "torch", "PIL"),
    _package("pytest", "MIT", "python", "_pytest", "pluggy"),
    _package("pyparsing", "MIT", "python"),
    _package("httpx2", "BSD-3-Clause", "python", "httpx2", "httpcore2", "h11"),
    _package("markdown-it-py", "MIT", "python", "markdown_it"),
    _package("pyyaml", "MIT", "python", "yaml"),
    _package("jinja2", "BSD-3-Clause", "held-out"),
)
