"""Prometheus metrics under vLLM's names with our prefix, and a label for the member where one is meant.

Acceptance rate: `rate(unisono_spec_decode_num_accepted_tokens_total) / rate(unisono_spec_decode_num_draft_tokens_total)`.
Tokens per round: `rate(unisono_generation_tokens_total) / rate(unisono_spec_decode_num_drafts_total)`.
"""

import time
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from unisono.server.job import CancelledError, Job, Update

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
SHORT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
MODEL = ("model_name",)
MEMBER = ("model_name", "member")


class Metrics:
    """All instruments, in a registry of their own. Counters are of requests that have ended, however they did."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.running = self._gauge("num_requests_running", "Rows that decode now.")
        self.waiting = self._gauge("num_requests_waiting", "Rows that wait to be admitted.")
        self.cache = self._gauge("kv_cache_usage_perc", "Share of the cache budget that running rows hold, 0 to 1.")
        self.first = self._histogram("time_to_first_token_seconds", "From the request to its first token.", SECONDS)
        self.between = self._histogram(
            "inter_token_latency_seconds", "From token to token; a block's is shared.", SHORT
        )
        self.whole = self._histogram("e2e_request_latency_seconds", "From the request to its end.", SECONDS)
        self.prompts = self._counter("prompt_tokens", "Tokens of prompts, as the first member reads them.")
        self.tokens = self._counter("generation_tokens", "Tokens of answers.")
        self.requests = self._counter("request_success", "Ended rows, by how.", (*MODEL, "finished_reason"))
        self.drafts = self._counter("spec_decode_num_drafts", "Settlings that decided proposals.")
        self.proposed = self._counter("spec_decode_num_draft_tokens", "Proposed tokens.", MEMBER)
        self.accepted = self._counter("spec_decode_num_accepted_tokens", "Accepted proposals.", MEMBER)
        self.positions = self._counter(
            "spec_decode_num_accepted_tokens_per_pos",
            "Accepted, by position in the verified block.",
            (*MEMBER, "position"),
        )
        self.forwards = self._counter("member_forward_passes", "Forwards a row took part in.", MEMBER)
        self.seconds = self._counter("member_forward_seconds", "Rows' shares of forwards, in seconds.", MEMBER)

    def watch(
        self, model: str, running: Callable[[], float], waiting: Callable[[], float], cache: Callable[[], float]
    ) -> None:
        """Read a model's gauges whenever somebody asks for them."""
        self.running.labels(model).set_function(running)
        self.waiting.labels(model).set_function(waiting)
        self.cache.labels(model).set_function(cache)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"unisono_{name}", text, MODEL, registry=self.registry)

    def _counter(self, name: str, text: str, labels: Sequence[str] = MODEL) -> Counter:
        return Counter(f"unisono_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(f"unisono_{name}", text, MODEL, buckets=buckets, registry=self.registry)


class Meter:
    """What one model's worker tells the metrics. Called in the worker's thread."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self.model = model
        self._metrics = metrics
        self._first = metrics.first.labels(model)
        self._between = metrics.between.labels(model)

    def progress(self, job: Job, updates: Sequence[Update], now: float) -> None:
        """Tokens have come: how long they took."""
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
        """A job has ended: count what it cost."""
        for choice in job.choices:
            row = choice.request.row
            self._metrics.prompts.labels(self.model).inc(len(row.task.contexts[0].tokens))
            self._metrics.tokens.labels(self.model).inc(row.stats.tokens)
            self._metrics.drafts.labels(self.model).inc(len(choice.tally.drafted))
            for member in row.stats.members:
                self._metrics.proposed.labels(self.model, member.name).inc(member.proposed)
                self._metrics.accepted.labels(self.model, member.name).inc(member.accepted)
                self._metrics.forwards.labels(self.model, member.name).inc(member.forwards)
                self._metrics.seconds.labels(self.model, member.name).inc(member.seconds)
                for position, count in enumerate(member.accepted_by_position):
                    self._metrics.positions.labels(self.model, member.name, position).inc(count)
            failure = "abort" if isinstance(error, CancelledError) else "error"
            reason = choice.result.finish_reason if choice.result else failure
            self._metrics.requests.labels(self.model, reason).inc()
        self._metrics.whole.labels(self.model).observe(time.perf_counter() - job.created)
