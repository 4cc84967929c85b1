"""What lies behind an ensemble's members where these are transformers models."""

from typing import Any

from unisono import Ensemble
from unisono.members.base import Member
from unisono.members.hf.cache import SlotCache
from unisono.members.hf.member import HFMember


def model(member: Member) -> Any:
    """The transformers model of a member."""
    assert isinstance(member, HFMember)
    return member.model


def hf(ensemble: Ensemble, index: int = 0) -> HFMember:
    """One member."""
    member = ensemble.members[index]
    assert isinstance(member, HFMember)
    return member


def hf_members(ensemble: Ensemble) -> list[HFMember]:
    """All members, drafters included."""
    return [hf(ensemble, index) for index in ensemble.lineup.everyone]


def models(ensemble: Ensemble) -> list[Any]:
    """The transformers model of each member."""
    return [model(member) for member in ensemble.members]


def caches(ensemble: Ensemble) -> list[SlotCache]:
    """The cache of each member; twins have one together."""
    return [member._cache for member in hf_members(ensemble)]


def cached(ensemble: Ensemble) -> list[dict[int, int]]:
    """Per member, how many tokens each open slot holds."""
    return [cache.lengths for cache in caches(ensemble)]
