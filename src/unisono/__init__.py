"""unisono: many models, one voice.

Decodes text with several language models at once, exactly, at close to the speed of one.

A public name is imported when it is first used. So a program that uses only some names does not have to import torch.
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from unisono import combine
    from unisono.ensemble import Ensemble
    from unisono.errors import ConfigurationError, MemberError, RequestError, UnisonoError, VocabularyError
    from unisono.members.source import Source
    from unisono.params import SamplingParams
    from unisono.text.encoder import Chat
    from unisono.types import Piece, Result, Score, Stats

__all__ = [
    "Chat",
    "ConfigurationError",
    "Ensemble",
    "MemberError",
    "Piece",
    "RequestError",
    "Result",
    "SamplingParams",
    "Score",
    "Source",
    "Stats",
    "UnisonoError",
    "VocabularyError",
    "combine",
]
__version__ = "0.1.0"

_HOMES = {
    "ensemble": ("Ensemble",),
    "errors": ("ConfigurationError", "MemberError", "RequestError", "UnisonoError", "VocabularyError"),
    "members.source": ("Source",),
    "params": ("SamplingParams",),
    "text.encoder": ("Chat",),
    "types": ("Piece", "Result", "Score", "Stats"),
}

if not typing.TYPE_CHECKING:  # with `__getattr__`, a type checker would accept any name as one of this module

    def __getattr__(name: str) -> object:
        if name == "combine":
            return importlib.import_module("unisono.combine")
        home = next((module for module, names in _HOMES.items() if name in names), None)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"unisono.{home}"), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
