"""The choice of the method of a call (combination, schedule, verification) from the arguments of the user.

The schedule `auto` may replace the combination `weighted` by `drawn`, which has the same law. The combination is
replaced only if the temperature is above 0, no seed is given and no log-probabilities are requested. If a request
with a seed uses `auto`, the text must not depend on measured times. So the default verification is `coupled`.

If the members are deterministic, `auto` treats every request like a request with a seed. The schedule is then computed
from the members' sizes alone. A schedule that depends on measured times could change the rounding of forward passes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NoReturn

from unisono.auto import static
from unisono.auto.policy import Auto
from unisono.combine import Combination, as_combination
from unisono.combine.base import static_odds
from unisono.decoding.policy import Schedule
from unisono.decoding.schedules import cos, lookup, parallel, relay, risky, speculative, standard
from unisono.decoding.spec import Method
from unisono.decoding.verification import VERIFICATIONS, Verification
from unisono.errors import ConfigurationError, require_known, unknown
from unisono.members.lineup import Lineup
from unisono.params import SamplingParams
from unisono.sampling.warp import Warp


@dataclass(frozen=True)
class Asked:
    """The method arguments of a call, as objects or names. None means the default."""

    combine: object = None
    schedule: object = None
    verification: object = None

    def over(self, defaults: "Asked") -> "Asked":
        """Return a copy in which every None is replaced by the value in `defaults`."""
        pairs = [(getattr(self, each.name), getattr(defaults, each.name)) for each in fields(Asked)]
        return Asked(*(default if own is None else own for own, default in pairs))


class Methods:
    """An object that chooses the method of each call on one lineup.

    Args:
        defaults: the values for arguments of a call that are None.
        auto: the schedule that the name `auto` selects. If this argument is None or the members are deterministic,
            the name `auto` selects a fixed schedule for the members' sizes.

    Raises:
        ConfigurationError: the defaults are wrong; see `choose`.
    """

    def __init__(self, lineup: Lineup, defaults: Asked, auto: Auto | None = None) -> None:
        self._deterministic = lineup.deterministic
        self._lineup, self._auto = lineup, None if self._deterministic else auto
        self._defaults = defaults.over(Asked(None, "auto", "auto"))
        self.choose(Asked())

    def combination(self, asked: Asked) -> Combination:
        """Return the combination that a call asks for. `choose` may use another combination with the same law.

        Raises:
            ConfigurationError: the combination is unknown or does not fit the members.
        """
        found = as_combination(asked.over(self._defaults).combine, len(self._lineup.combined))
        for member in found.needed(len(self._lineup.combined)) if "features" in found.reads else ():
            if not self._lineup.members[member].width:
                raise ConfigurationError(
                    f"combination {found.name} reads features, which member {self._lineup.names[member]} does not give"
                )
        return found

    def choose(self, asked: Asked, params: SamplingParams | None = None) -> Method:
        """Return the method of a call.

        Raises:
            ConfigurationError: a name is unknown, or does not fit the members or the parameters.
        """
        params = SamplingParams() if params is None else params
        asked, warp, combination = asked.over(self._defaults), Warp.of(params), self.combination(asked)
        automatic = asked.schedule == "auto"
        repeats = automatic and (params.seed is not None or self._deterministic)
        if automatic and not repeats and not params.logprobs:
            combination = combination.traits(warp).equivalent or combination
        parameters, weights = self._lineup.parameters, self._weights(combination, warp)
        needed = combination.needed(len(self._lineup.combined))
        wanted = self._auto if automatic and self._auto is not None else asked.schedule
        schedule = as_schedule(wanted, parameters, needed, weights, self._odds(combination, warp))
        rule = as_verification(asked.verification) or automatic_verification(warp.greedy, repeats)
        verification = usable_verification(rule, warp.greedy or schedule.certain)
        proposer = self._proposer(combination, warp, weights)
        return Method(combination, schedule, verification, proposer, peers(proposer, parameters, weights, needed))

    def _weights(self, combination: Combination, warp: Warp) -> list[float]:
        """Return the weight of each member in the target law. The weight of a draft model is 0."""
        combined, traits = self._lineup.combined, combination.traits(warp)
        return [traits.weight(each) if each in combined else 0.0 for each in self._lineup.everyone]

    def _odds(self, combination: Combination, warp: Warp) -> tuple[float, ...]:
        """Return the probability of drawing each member. Return () if the combination has no fixed probabilities."""
        odds = static_odds(combination, len(self._lineup.combined), warp)
        return (*odds, *[0.0] * self._lineup.drafters) if odds else ()

    def _proposer(self, combination: Combination, warp: Warp, weights: Sequence[float]) -> int:
        combined = self._lineup.combined
        opener = combined.stop if self._lineup.drafters else combination.traits(warp).opener
        needed = combination.needed(len(combined))
        return default_proposer(self._lineup.parameters, weights, needed) if opener is None else opener


def default_proposer(parameters: Sequence[int], weights: Sequence[float], needed: Sequence[int]) -> int:
    """Return the member with the fewest parameters. Of several such members, return the first with the largest weight.

    If the target law needs only one member, this member is not returned, because its proposals would save no time.
    With a single member, return 0.
    """
    alone = needed[0] if len(needed) == 1 else None
    candidates = [member for member in range(len(parameters)) if member != alone] or [0]
    return min(candidates, key=lambda member: (parameters[member], -weights[member], member))


def peers(proposer: int, parameters: Sequence[int], weights: Sequence[float], needed: Sequence[int]) -> tuple[int, ...]:
    """Return all members with the proposer's size and weight, including the proposer.

    Return an empty tuple if the proposer is the only such member, or if the law does not need all these members.
    """
    same = tuple(
        member
        for member in range(len(parameters))
        if (parameters[member], weights[member]) == (parameters[proposer], weights[proposer])
    )
    return same if len(same) > 1 and set(same) <= set(needed) else ()


ONE_LENGTH = {"speculative": speculative, "relay": relay, "risky": risky, "lookup": lookup}
NAMES = ("standard", "parallel", "speculative:G", "cos:G1,G2,...", "relay:G", "risky:K", "lookup:N", "auto")


def as_schedule(
    value: object,
    parameters: Sequence[int],
    needed: Sequence[int],
    weights: Sequence[float] = (),
    odds: Sequence[float] = (),
) -> Schedule:
    """Return a schedule from its name or a `Schedule` object.

    Args:
        parameters: the number of parameters of each member. needed: the members that the target law needs. weights: the
            weight of each member in the law. odds: the fixed probability of drawing each member, or empty.

    Raises:
        ConfigurationError: the name or a draft length is wrong, or the number of draft lengths is wrong.
    """
    if isinstance(value, Schedule):
        return value if value.members in (None, len(parameters)) else _refuse_count(value.name, len(parameters))
    if not isinstance(value, str):
        raise ConfigurationError(f"a schedule is a name or a Schedule of unisono.decoding, not: {value!r}")
    name, _, rest = value.partition(":")
    if name == "auto" and not rest:
        return static.drafting_ahead(parameters, odds) if odds else static.automatic(parameters, needed, weights)
    if name in ("standard", "parallel") and not rest:
        return standard() if name == "standard" else parallel()
    if name not in (*ONE_LENGTH, "cos"):
        raise unknown("schedule", value, NAMES)
    lengths = _parse_lengths(name, rest, len(parameters) if name == "cos" else 1)
    if name != "cos":
        return ONE_LENGTH[name](*lengths) if len(lengths) == 1 else _refuse_count(value, 1)
    return cos(*lengths) if len(lengths) == len(parameters) else _refuse_count(value, len(parameters))


def _parse_lengths(name: str, rest: str, count: int) -> list[int]:
    try:
        return [int(part) for part in rest.split(",")]
    except ValueError:
        example = ",".join("1" * count)
        raise ConfigurationError(
            f"schedule {name} needs draft lengths, as in {name}:{example}, not: {rest!r}"
        ) from None


def _refuse_count(value: str, count: int) -> NoReturn:
    if not value.startswith("cos"):
        raise ConfigurationError(f"schedule {value} needs 1 draft length, as in {value.partition(':')[0]}:2")
    raise ConfigurationError(f"schedule {value} needs {count} draft lengths, one for each of {count} members")


FASTEST = "token"  # the choice of `auto` if texts need not be reproducible


def as_verification(value: object) -> Verification | None:
    """Return a verification from its name or object. Return None for "auto", which is chosen for each request.

    Raises:
        ConfigurationError: the name is unknown.
    """
    if isinstance(value, Verification):
        return value
    require_known("verification", [str(value)], ["auto", *VERIFICATIONS])
    return VERIFICATIONS.get(str(value))


def usable_verification(verification: Verification, certain: bool) -> Verification:
    """Return `token` instead of `block` if `certain` is true. Otherwise, return the verification unchanged.

    `certain` says that all laws are one-hot. For one-hot laws, `block` and `token` accept the same proposals.
    """
    return VERIFICATIONS["token"] if certain and verification.name == "block" else verification


def automatic_verification(greedy: bool, reproducible: bool) -> Verification:
    """Return the fastest suitable verification.

    Args:
        greedy: whether the temperature is 0. At temperature 0 all verifications give the same text, so return `token`.
        reproducible: whether the text must not depend on the schedule.
    """
    return VERIFICATIONS["coupled" if reproducible and not greedy else FASTEST]
