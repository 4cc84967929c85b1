"""The `metrics` object of a response. Its parts are vLLM's `speculative_decoding` and unisono's `collaboration`."""

from typing import Any

from unisono.server.job import Choice, Job
from unisono.types import MemberStats


def report(job: Job, detail: str | None) -> dict[str, Any] | None:
    """Return the `metrics` object of a job that has ended, or None if `detail` is None or "none".

    If the job has several choices, the two parts of the object are None, as in vLLM.

    `mean_acceptance_length` is 1 + accepted / steps, as in vLLM. The 1 counts the token after the accepted
    proposals. In unisono, this token may be a proposal too. So `mean_acceptance_length` can differ from the true number
    of tokens per round, which is `tokens_per_round`.

    Args:
        detail: "none", "summary" or "detailed".
    """
    if detail in (None, "none"):
        return None
    if len(job.choices) != 1:
        return {"speculative_decoding": None, "collaboration": None}
    (choice,) = job.choices
    detailed = detail == "detailed"
    found = choice.tally.detail() if detailed else choice.tally.summary()
    return {"speculative_decoding": found, "collaboration": _collaboration(choice, detailed)}


def _collaboration(choice: Choice, detailed: bool) -> dict[str, Any]:
    result = choice.result
    assert result is not None  # the job has ended
    members = {member.name: _member(member, detailed) for member in result.stats.members}
    return {
        "combination": result.combination,
        "schedule": result.schedule,
        "verification": result.verification,
        "seed": result.seed,
        "generation_config": dict(result.generation_config),
        "rounds": result.stats.rounds,
        "tokens_per_round": result.stats.tokens_per_round,
        "time_ms": round(1000 * result.stats.seconds, 3),
        "time_outside_forwards_ms": round(1000 * result.stats.outside, 3),
        "members": members,
    }


def _member(stats: MemberStats, detailed: bool) -> dict[str, Any]:
    found = {
        "proposed": stats.proposed,
        "accepted": stats.accepted,
        "forward_passes": stats.forwards,
        "time_ms": round(1000 * stats.seconds, 3),
    }
    lists = ("decided_by_position", "accepted_by_position", "lengths") if detailed else ()
    return {**found, **{name: list(getattr(stats, name)) for name in lists}}
