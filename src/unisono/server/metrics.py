"""Prometheus metrics with the names of vLLM's metrics and the prefix `unisono_`.

Metrics of a member have the label `member`. Two rates can be computed from the metrics:

acceptance rate:
    rate(unisono_spec_decode_num_accepted_tokens_total) / rate(unisono_spec_decode_num_draft_tokens_total)
tokens per round:
    rate(unisono_generation_tokens_total) / rate(unisono_spec_decode_num_drafts_total)
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from unisono.server.job import CancelledError, Job, Update

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
SHORT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
MODEL = ("model_name",)
MEMBER = ("model_name", "member")


class Metrics:
    """The metrics of the server, in a separate registry.

    The counters change only at the end of a request, whether the request succeeds or fails.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"namespace": "unisono", "registry": self.registry}
        gauge: Callable[..., Gauge] = partial(Gauge, labelnames=MODEL, **own)
        counter: Callable[..., Counter] = partial(Counter, **own)
        histogram: Callable[..., Histogram] = partial(Histogram, labelnames=MODEL, **own)
        self.running = gauge("num_requests_running", "Rows that decode now.")
        self.waiting = gauge("num_requests_waiting", "Rows that wait to be admitted.")
        self.cache = gauge("kv_cache_usage_perc", "Share of the cache budget that running rows hold, 0 to 1.")
        self.first = histogram("time_to_first_token_seconds", "From the request to its first token.", buckets=SECONDS)
        between = "Between two tokens; tokens of one step share its time equally."
        self.between = histogram("inter_token_latency_seconds", between, buckets=SHORT)
        self.whole = histogram("e2e_request_latency_seconds", "From the request to its end.", buckets=SECONDS)
        self.prompts = counter("prompt_tokens", "Tokens of prompts, as the first member reads them.", MODEL)
        self.tokens = counter("generation_tokens", "Tokens of answers.", MODEL)
        self.requests = counter("request_success", "Ended rows, by finish reason.", (*MODEL, "finished_reason"))
        self.drafts = counter("spec_decode_num_drafts", "Verifications that decided proposals.", MODEL)
        self.proposed = counter("spec_decode_num_draft_tokens", "Proposed tokens.", MEMBER)
        self.accepted = counter("spec_decode_num_accepted_tokens", "Accepted proposals.", MEMBER)
        positions = "Accepted proposals, by position in the verified block."
        self.positions = counter("spec_decode_num_accepted_tokens_per_pos", positions, (*MEMBER, "position"))
        self.forwards = counter("member_forward_passes", "Forwards that a row took part in.", MEMBER)
        self.seconds = counter("member_forward_seconds", "Rows' shares of forwards, in seconds.", MEMBER)


class Meter:
    """Writes the metrics of one model. The worker's thread calls the methods."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self.model = model
        self._metrics = metrics
        self._first = metrics.first.labels(model)
        self._between = metrics.between.labels(model)

    def progress(self, job: Job, updates: Sequence[Update], now: float) -> None:
        """Record latencies of each choice that got tokens in the last step.

        For the first tokens of a choice, record the time since the request arrived. For later tokens, record the time
        between two tokens.
        """
        for update in updates:
            choice, count = job.choices[update.choice], len(update.commits)
            if not count:
                continue
            if choice.served is None:
                self._first.observe(now - job.created)
            else:
                for _ in range(count):
                    self._between.observe((now - choice.served) / count)
            choice.served = now

    def finish(self, job: Job, error: Exception | None) -> None:
        """Add the tokens, forwards and proposals of an ended job to the counters.

        Also count the finish reason of each row, and record the duration of the request.
        """
        metrics, model = self._metrics, self.model
        for choice in job.choices:
            row = choice.request.row
            metrics.prompts.labels(model).inc(len(row.task.contexts[0].tokens))
            metrics.tokens.labels(model).inc(row.stats.tokens)
            metrics.drafts.labels(model).inc(len(choice.tally.drafted))
            for member in row.stats.members:
                metrics.proposed.labels(model, member.name).inc(member.proposed)
                metrics.accepted.labels(model, member.name).inc(member.accepted)
                metrics.forwards.labels(model, member.name).inc(member.forwards)
                metrics.seconds.labels(model, member.name).inc(member.seconds)
                for position, count in enumerate(member.accepted_by_position):
                    metrics.positions.labels(model, member.name, position).inc(count)
            failure = "abort" if isinstance(error, CancelledError) else "error"
            metrics.requests.labels(model, choice.result.finish_reason if choice.result else failure).inc()
        metrics.whole.labels(model).observe(time.perf_counter() - job.created)
