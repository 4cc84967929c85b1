"""The commit, versions and hardware behind the published numbers of the bundled models."""

from importlib.metadata import version

from unisono.bench import provenance as process


def provenance() -> dict[str, str]:
    """Return commit, date, versions and hardware of this process as texts. They contain no path and no host name."""
    facts = process.provenance()
    return {
        "commit": facts["commit"],
        "date": facts["time"].partition("T")[0],
        "python": facts["python"],
        **{name: version(name) for name in ("torch", "transformers", "tokenizers", "numpy")},
        "hardware": f"{facts['cpu']}, {facts['cores']} cores",
    }
