"""Which method a call uses: names and objects as users give them, and what `auto` makes of a request.

Where the schedule is `auto`, the request may have another way to the same law: `weighted` becomes `drawn` at a temperature
above 0, unless log-probabilities are asked for. With a given seed the text must not depend on how fast the members are
today: the combination stays, and the verification is `coupled`. With deterministic members all requests are decided like that,
and the schedule goes by the members' sizes: the width of a forward, which may round otherwise, must not depend on times either.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NoReturn

from unisono.auto import static
from unisono.auto.measurements import Experience
from unisono.auto.policy import Kind, adaptive
from unisono.combine import Combination, as_combination
from unisono.decoding.schedules import Schedule, cos, lookup, parallel, relay, risky, speculative, standard
from unisono.decoding.spec import Method
from unisono.decoding.verification import VERIFICATIONS, Verification
from unisono.errors import ConfigurationError, require_known, unknown
from unisono.members.lineup import Lineup
from unisono.params import SamplingParams
from unisono.sampling.warp import Warp


@dataclass(frozen=True)
class Asked:
    """How a text is to be decoded, as a user says it: objects or names. None leaves a part to the defaults."""

    combine: object = None
    schedule: object = None
    verification: object = None

    def over(self, defaults: "Asked") -> "Asked":
        """The same, with the defaults where nothing was said."""
        pairs = [(getattr(self, each.name), getattr(defaults, each.name)) for each in fields(Asked)]
        return Asked(*(default if own is None else own for own, default in pairs))


class Methods:
    """What calls on one lineup use.

    Args:
        defaults: what a call uses where it says nothing.
        experience: what `auto` learns from; without it, `auto` goes by the members' sizes.

    Raises:
        ConfigurationError: as for `choose`, where the defaults alone are wrong.
    """

    def __init__(self, lineup: Lineup, defaults: Asked, experience: Experience | None = None) -> None:
        self._deterministic = lineup.deterministic
        self._lineup, self._experience = lineup, None if self._deterministic else experience
        self._defaults = defaults.over(Asked(None, "auto", "auto"))
        self.choose(Asked())

    def combination(self, asked: Asked) -> Combination:
        """What the text follows, as asked for; what `auto` makes of it is another way to the same law.

        Raises:
            ConfigurationError: it is unknown, or does not fit the members.
        """
        return as_combination(asked.over(self._defaults).combine, len(self._lineup.combined))

    def choose(self, asked: Asked, params: SamplingParams | None = None) -> Method:
        """The method of a call; ConfigurationError if a name is unknown, or does not fit the members or the parameters."""
        params = SamplingParams() if params is None else params
        asked, warp, combination = asked.over(self._defaults), Warp.of(params), self.combination(asked)
        repeats = asked.schedule == "auto" and (params.seed is not None or self._deterministic)
        if asked.schedule == "auto" and not repeats and not params.logprobs:
            combination = combination.equivalent(warp)
        needed, weights = combination.needed(len(self._lineup.combined)), self._weights(combination)
        parameters, odds = self._lineup.parameters, self._odds(combination, warp)
        schedule = as_schedule(asked.schedule, parameters, needed, weights, odds)
        rule = as_verification(asked.verification) or automatic_verification(warp.greedy, repeats)
        verification = usable_verification(rule, warp.greedy or schedule.certain)
        proposer = self._proposer(combination, weights, needed)
        if asked.schedule == "auto" and self._experience is not None:
            kind = self._kind(combination, verification, warp, proposer)
            schedule = adaptive(kind, self._experience, schedule)
        equals = peers(proposer, parameters, weights, needed)
        return Method(combination, schedule, verification, proposer, equals)

    def _weights(self, combination: Combination) -> list[float]:
        """How much of the law is each member's; nothing is a drafter's."""
        combined = self._lineup.combined
        return [combination.weight(each) if each in combined else 0.0 for each in self._lineup.everyone]

    def _odds(self, combination: Combination, warp: Warp) -> tuple[float, ...]:
        """How probably each member is drawn for a position, if one is."""
        odds = combination.odds(warp)
        return (*odds, *[0.0] * self._lineup.drafters) if odds else ()

    def _proposer(self, combination: Combination, weights: Sequence[float], needed: Sequence[int]) -> int:
        opener = self._lineup.combined.stop if self._lineup.drafters else combination.opener()
        return default_proposer(self._lineup.parameters, weights, needed) if opener is None else opener

    def _kind(self, combination: Combination, verification: Verification, warp: Warp, proposer: int) -> Kind:
        """What `auto` knows of the request."""
        return Kind(
            key=(combination.name, warp, verification.name),
            needed=combination.needed(len(self._lineup.combined)),
            odds=combination.odds(warp),
            start=proposer,
            coupled=verification.name == "coupled" and not warp.greedy,
            looks=verification.name != "block",
            greedy=warp.greedy,
            leads=combination.opener(),
        )


def default_proposer(parameters: Sequence[int], weights: Sequence[float], needed: Sequence[int]) -> int:
    """The member with the fewest parameters (ties: larger weight, then first).

    A member that alone fixes the law has nothing to gain from proposing to itself, so any other goes before it.
    """
    alone = needed[0] if len(needed) == 1 else None
    candidates = [member for member in range(len(parameters)) if member != alone] or [0]
    return min(candidates, key=lambda member: (parameters[member], -weights[member], member))


def peers(proposer: int, parameters: Sequence[int], weights: Sequence[float], needed: Sequence[int]) -> tuple[int, ...]:
    """The needed members that are as good a proposer as the default one, itself included; none if it stands alone."""
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
    """A schedule from its name or an object, for members with that many parameters each.

    Args:
        needed: the members without whose scores nothing can be decided. weights: how much of the law is each member's.
        odds: how probably each member is drawn for a position, if one is.

    Raises:
        ConfigurationError: the name or a draft length is wrong, or `cos` has not one draft length per member.
    """
    if isinstance(value, Schedule):
        return value if value.members in (None, len(parameters)) else _refuse_count(value.name, len(parameters))
    if not isinstance(value, str):
        raise ConfigurationError(f"a schedule is a name or an object of unisono.decoding.schedules, not: {value!r}")
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


FASTEST = "token"  # what `auto` takes where texts need not be reproducible


def as_verification(value: object) -> Verification | None:
    """Return the verification of a name, or the one that is given; None for "auto", which is chosen for each request.

    Raises:
        ConfigurationError: there is no such verification.
    """
    if isinstance(value, Verification):
        return value
    require_known("verification", [str(value)], ["auto", *VERIFICATIONS])
    return VERIFICATIONS.get(str(value))


def usable_verification(verification: Verification, certain: bool) -> Verification:
    """What decides proposals under it: of one-hot laws no rule accepts more than another, so there `block` is `token`."""
    return VERIFICATIONS["token"] if certain and verification.name == "block" else verification


def automatic_verification(greedy: bool, reproducible: bool) -> Verification:
    """The verification that measures best.

    Args:
        greedy: at temperature 0 all give the same text, and `token` costs least. reproducible: the text is to be the
            same whatever the schedule.
    """
    return VERIFICATIONS["coupled" if reproducible and not greedy else FASTEST]
