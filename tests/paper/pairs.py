"""The configs of the paper's pairs, loaded with stand-ins for their checkpoints."""

from dataclasses import dataclass, replace
from pathlib import Path

from tests.paper import checkpoints, tokenizers
from tests.paper.checkpoints import CHECKPOINTS, Checkpoint
from unisono import Ensemble, config
from unisono.config import Config

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "configs" / "paper"
FILES = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))
# No pair of the paper, but one that users make: sizes of one family, padded differently
MIXED = "1.5b-with-7b"
MIXED_CONFIG = {
    "members": ["Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-1.5B-Instruct"],
    "combine": "weighted:0.5,0.5",
    "schedule": "cos:1,5",
}


@dataclass(frozen=True)
class Pair:
    """A config and the ensemble that it makes of the stand-ins."""

    name: str
    config: Config
    ensemble: Ensemble

    @property
    def checkpoints(self) -> list[Checkpoint]:
        return [CHECKPOINTS[source.model] for source in self.config.members]


def read(name: str) -> Config:
    """The config of a pair."""
    return config.from_mapping(MIXED_CONFIG) if name == MIXED else config.read(FOLDER / f"{name}.yaml")


def load(name: str, hub: Path) -> Pair:
    """The pair, loaded by the names that its config gives. The working folder must be `hub`.

    One tokenizer object stands for those in the folders, which take seconds to read; `test_page.py` reads some.
    """
    settings = read(name)
    for source in settings.members:
        checkpoints.write(source.model, hub)
    sources = [
        replace(source, tokenizer=tokenizers.of(CHECKPOINTS[source.model].family)) for source in settings.members
    ]
    chosen = {key: getattr(settings, key) for key in ("combine", "schedule", "verification")}
    return Pair(name, settings, Ensemble.load(sources, **chosen, dtype="float32"))
