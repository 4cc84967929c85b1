"""unisono: many models, one voice.

Decodes text with several language models at once, exactly, at close to the speed of one.
"""

from unisono import combine
from unisono.ensemble import Ensemble
from unisono.errors import ConfigurationError, MemberError, RequestError, UnisonoError, VocabularyError
from unisono.params import SamplingParams
from unisono.types import Piece, Result, Score, Stats

__all__ = [
    "ConfigurationError",
    "Ensemble",
    "MemberError",
    "Piece",
    "RequestError",
    "Result",
    "SamplingParams",
    "Score",
    "Stats",
    "UnisonoError",
    "VocabularyError",
    "combine",
]
__version__ = "0.1.0"
