"""Exact output distributions ("laws") and conformance tests, for this project and for your combinations and schedules.

`exact_law` runs the real decode loop once for every sequence of random choices and adds up the probabilities.
`brute_force` computes the same law from its definition. If the two laws are equal up to rounding, the schedule and the
verification are exact. There is no sampling, so no statistical tolerance is needed.

    members = [TableMember.random(3, seed=1), TableMember.random(3, seed=2)]
    assert largest_error(members, combine.weighted([0.7, 0.3]), cos(2, 1), tokens=3) < 1e-12
    assert_schedule(my_schedule, members=2)
    assert_combination(my_combination, members=2)

Combinations and schedules are objects, names or functions, as for `Ensemble.load`.
"""

import math
from collections.abc import Generator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from unisono.combine import Combination, as_combination
from unisono.combine.base import target_law
from unisono.combine.positions import GivenScores, Positions
from unisono.decoding.drafting import Proposer
from unisono.decoding.engine import Engine
from unisono.decoding.events import Accepted, Drawn, Replaced, commits
from unisono.decoding.row import Row
from unisono.decoding.spec import Method, Task
from unisono.decoding.verification import VERIFICATIONS, Verification
from unisono.members.base import Context, Member, Reading
from unisono.members.lineup import Lineup
from unisono.members.table import TableMember
from unisono.methods import as_schedule
from unisono.sampling.constraint import Constraint
from unisono.sampling.enumerating_noise import EnumeratingNoise, Tokens
from unisono.sampling.logits_edits import EditedWarp, Edits
from unisono.sampling.noise import Noise
from unisono.sampling.warp import Warp
from unisono.types import Commit

__all__ = [
    "PROMPT",
    "EnumeratingNoise",
    "ExactMember",
    "TableMember",
    "Tokens",
    "assert_combination",
    "assert_law",
    "assert_schedule",
    "brute_force",
    "contexts",
    "decode",
    "exact_law",
    "largest_error",
    "rounds",
    "unequal_members",
]
PROMPT = (0,)


class ExactMember(Member, Protocol):
    """A member that can compute its law after any text without a KV cache, for example `TableMember`.

    A member with features also has a method `features(prefix)`, which returns the features [D] after the prefix.
    """

    def law(self, prefix: Sequence[int]) -> Tensor: ...  # [V], for the token after the prefix, at temperature 1


def decode(  # noqa: PLR0913 - options of a test, passed by name
    members: Sequence[ExactMember],
    combination: object,
    schedule: object,
    noise: Noise,
    tokens: int,
    warp: Warp | None = None,
    proposer: int = 0,
    verification: Verification = VERIFICATIONS["token"],
    edits: Edits | None = None,
    drafters: int = 0,
    constraint: Constraint | None = None,
    proposers: Sequence[Proposer] = (),
    twins: Sequence[tuple[int, ...]] = (),
) -> Tokens:
    """Run the decode loop once. Return `tokens` token ids. The last `drafters` members are draft models."""
    lineup = Lineup(tuple(members), drafters, tuple(proposers), tuple(twins))
    count = len(lineup.combined)
    law = as_combination(combination, count)
    plan = as_schedule(schedule, lineup.parameters, law.needed(count))
    method, warp = Method(law, plan, verification, proposer), warp or Warp()
    remaining = lineup.remaining(warp)
    task = Task(contexts(members, warp=warp), remaining, tokens, edits=edits or Edits(), constraint=constraint)
    return tuple(commit.token for commits in rounds(Row(lineup, method, task, noise)) for commit in commits)


def contexts(
    members: Sequence[Member], prompts: Sequence[Sequence[int]] | None = None, warp: Warp | None = None
) -> tuple[Context, ...]:
    """Return one context per member, made from the member's prompt. By default, all prompts are `PROMPT`."""
    each = [PROMPT for _ in members] if prompts is None else prompts
    pairs = zip(members, each, strict=True)
    return tuple(member.context(Reading(tuple(prompt)), warp or Warp()) for member, prompt in pairs)


class _Commits:
    hears = (Accepted, Replaced, Drawn)

    def __init__(self) -> None:
        self.found: list[Commit] = []

    def observe(self, event: Accepted | Replaced | Drawn) -> None:
        self.found += commits(event)


def rounds(row: Row) -> Generator[list[Commit], None, None]:
    """Run one row. Yield the commits of each step, without log-probabilities. Closing the generator cancels the row."""
    engine, listener = Engine(row.lineup), _Commits()
    row.listen(listener)
    engine.submit(row)
    try:
        while not row.finished:
            engine.step()
            if row.error is not None:
                raise row.error
            yield list(listener.found)
            listener.found.clear()
    finally:
        engine.cancel(row)


def exact_law(
    members: Sequence[ExactMember], combination: object, schedule: object, tokens: int, **options: Any
) -> dict[Tokens, float]:
    """Enumerate all random choices. Return the law of the decode loop's output. Options are those of `decode`."""
    law: dict[Tokens, float] = {}

    def run(noise: Noise) -> Tokens:
        return decode(members, combination, schedule, noise, tokens, **options)

    for outcome, probability in EnumeratingNoise(run):
        law[outcome] = law.get(outcome, 0.0) + probability
    return law


def brute_force(
    members: Sequence[ExactMember],
    combination: object,
    tokens: int,
    warp: Warp | None = None,
    edits: Edits | None = None,
    constraint: Constraint | None = None,
) -> dict[Tokens, float]:
    """Return the law of the output. A sequence's probability is the product of its tokens' target probabilities."""
    target = as_combination(combination, len(Lineup(tuple(members)).combined))
    law: dict[Tokens, float] = {(): 1.0}
    for _ in range(tokens):
        grown: dict[Tokens, float] = {}
        for prefix, probability in law.items():
            for token, mass in enumerate(_next_law(members, target, prefix, warp or Warp(), edits, constraint)):
                grown[*prefix, token] = probability * mass
        law = grown
    return law


def _next_law(
    members: Sequence[ExactMember],
    target: Combination,
    text: Tokens,
    warp: Warp,
    edits: Edits | None,
    constraint: Constraint | None,
) -> list[float]:
    """Return the target law of the token after a text, computed from the definition of the combination."""
    masks = None
    if constraint is not None:
        state = constraint.copy()
        if not all(state.accept(token) for token in text):
            return [0.0] * members[0].vocabulary
        forced = state.forced()
        masks = (
            state.mask().unsqueeze(0)
            if forced is None
            else torch.eye(members[0].vocabulary, dtype=torch.bool)[[forced]]
        )
    edited = EditedWarp(warp, edits or Edits(), PROMPT, [text], masks)
    before = [(*PROMPT, *text[:position]) for position in range(len(text))]
    positions = Positions(
        [GivenScores(member.law((*PROMPT, *text)).log().unsqueeze(0), edited) for member in members],
        prompt=[PROMPT],
        tokens=[text],
        loglikelihood=[
            [torch.tensor([float(m.law(p)[x].log()) for p, x in zip(before, text, strict=True)], dtype=torch.float64)]
            for m in members
        ],
        prompt_loglikelihood=[[torch.zeros(len(PROMPT) - 1, dtype=torch.float64)] for _ in members],
        features=[_features(member, (*PROMPT, *text)) for member in members],
    )
    found: list[float] = target_law(target, positions, edited)[0].tolist()
    return found


def _features(member: object, prefix: Tokens) -> Tensor:
    """Return the features [1, D] of a member after a prefix; [1, 0] for a member without features."""
    features = getattr(member, "features", None)
    return torch.zeros(1, 0) if features is None else features(prefix).unsqueeze(0)


def largest_error(
    members: Sequence[ExactMember], combination: object, schedule: object, tokens: int, **options: Any
) -> float:
    """Return the largest difference between the probabilities of one output in `exact_law` and in `brute_force`.

    Options are those of `decode`.
    """
    found = exact_law(members, combination, schedule, tokens, **options)
    combined = [members[index] for index in Lineup(tuple(members), options.get("drafters", 0)).combined]
    definition = {name: options[name] for name in ("warp", "edits", "constraint") if name in options}
    wanted = brute_force(combined, combination, tokens, **definition)
    return max(abs(found.get(sequence, 0.0) - probability) for sequence, probability in wanted.items())


def assert_schedule(schedule: object, members: int = 2) -> None:
    """Assert that a schedule is exact for several combinations and temperatures. All tests use a repetition penalty."""
    even = "weighted:" + ",".join(str(index + 1) for index in range(members))
    for combination in (even, even + ",order=combine-first", "product", "only:0"):
        _assert_exact(combination, schedule, members, edits=Edits(repetition=1.2))


def assert_combination(combination: object, members: int = 2) -> None:
    """Assert that decoding is exact for a combination, with several schedules and temperatures."""
    for schedule in ("standard", "parallel", "speculative:1", "cos:" + ",".join("1" * members)):
        _assert_exact(combination, schedule, members)


def _assert_exact(combination: object, schedule: object, members: int, **options: Any) -> None:
    for warp in (Warp(), Warp(0.7, top_k=2), Warp(0)):
        error = largest_error(unequal_members(members), combination, schedule, 3, warp=warp, **options)
        if error > 1e-12:
            raise AssertionError(f"{schedule} is off by {error:.1e} for {combination} and {warp}")


def assert_law(outcomes: Sequence[Tokens], law: dict[Tokens, float], detects: float, alpha: float = 1e-9) -> None:
    """Assert that independent outcomes follow a law. If they do, the probability of a failure is `alpha` or less.

    The L1 distance between frequencies and law is compared with the bound of Weissman et al. (2003), which is valid for
    every sample size. If the total-variation distance between the true law and `law` is at least `detects`, the
    assertion fails with probability 1 - alpha or more. If there are too few outcomes, ValueError is raised.
    """
    cells = len(law)
    radius = math.sqrt(2 * (cells * math.log(2) + math.log(1 / alpha)) / len(outcomes))
    if radius > detects:  # a total variation of `detects` is an L1 distance of 2 * detects
        raise ValueError(f"{len(outcomes)} outcomes detect a total variation of {radius:.3g}, not {detects:.3g}")
    counts = dict.fromkeys(law, 0)
    for outcome in outcomes:
        if outcome not in counts:
            raise AssertionError(f"impossible outcome {outcome}")
        counts[outcome] += 1
    distance = sum(abs(counts[outcome] / len(outcomes) - mass) for outcome, mass in law.items())
    if distance > radius:
        raise AssertionError(f"L1 distance {distance:.4f} over {radius:.4f} at n={len(outcomes)}: {counts} for {law}")


def unequal_members(count: int, vocabulary: int = 3, seed: int = 1) -> list[TableMember]:
    """Return table members with different laws. The first member has the fewest parameters."""
    return [TableMember.random(vocabulary, seed + index, f"table-{index}", index + 1) for index in range(count)]
