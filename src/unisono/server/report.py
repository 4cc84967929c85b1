"""What a request's speculation came to: vLLM's `metrics.speculative_decoding` and our `metrics.collaboration`."""

from typing import Any

from unisono.server.job import Job


def report(job: Job, detail: str | None) -> dict[str, Any] | None:
    """The `metrics` object of a job that has ended.

    `mean_acceptance_length` is 1 + accepted / steps as vLLM defines it. Here the token behind an accepted run is a
    proposal too, so `tokens_per_round` is what a round of the members really yields.

    Args:
        detail: none, summary or detailed.

    Returns:
        None if it was not asked for; for several choices an object without numbers, as in vLLM.
    """
    if detail in (None, "none"):
        return None
    if len(job.choices) != 1:
        return {"speculative_decoding": None, "collaboration": None}
    (choice,) = job.choices
    found = choice.tally.detail() if detail == "detailed" else choice.tally.summary()
    return {"speculative_decoding": found, "collaboration": _collaboration(job)}


def _collaboration(job: Job) -> dict[str, Any]:
    result = job.choices[0].result
    assert result is not None  # the job has ended
    members = {
        member.name: {
            "proposed": member.proposed,
            "accepted": member.accepted,
            "forward_passes": member.forwards,
            "time_ms": round(1000 * member.seconds, 3),
        }
        for member in result.stats.members
    }
    return {
        "combination": result.combination,
        "schedule": result.schedule,
        "verification": result.verification,
        "seed": result.seed,
        "rounds": result.stats.rounds,
        "tokens_per_round": result.stats.tokens_per_round,
        "time_ms": round(1000 * result.stats.seconds, 3),
        "members": members,
    }
