"""The served models. Each model is an ensemble with a decode thread. Ensembles with equal members share weights."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from unisono.config import Config
from unisono.ensemble import Ensemble
from unisono.loading import Loaded, cache_budget, load_guided, load_members
from unisono.server.catalog import Catalog
from unisono.server.errors import APIError
from unisono.server.metrics import Meter, Metrics
from unisono.server.settings import Settings
from unisono.server.worker import Worker

LOG = logging.getLogger("unisono.server")


@dataclass(frozen=True)
class Model:
    """A collaboration under the name that requests use.

    guided: the worker for requests with `guidance_scale`. The ensemble of this worker has the model's only member twice.
    The first copy reads the prompt. The second copy reads the negative prompt. If the model combines several
    members, `guided` is None.
    """

    name: str
    config: Config
    worker: Worker
    guided: Worker | None = None
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def ensemble(self) -> Ensemble:
        return self.worker.ensemble

    @property
    def workers(self) -> list[Worker]:
        return [worker for worker in (self.worker, self.guided) if worker is not None]


class Models:
    """All served models by name. The playground uses the first model by default."""

    def __init__(self, models: Mapping[str, Model]) -> None:
        self.by_name = dict(models)

    @classmethod
    def load(cls, catalog: Catalog, settings: Settings, metrics: Metrics) -> "Models":
        """Load every member once and build the ensembles. The decode threads are not started.

        Raises:
            MemberError: a member cannot be loaded.
            ConfigurationError: the members cannot be combined.
        """
        loaded: Loaded = []
        # A model of one member has two ensembles: the second ensemble is for guidance
        share = sum(1 if config.alone is None else 2 for config in catalog.models.values())
        models = catalog.models.items()
        return cls({name: _model(name, config, settings, metrics, loaded, share) for name, config in models})

    def __getitem__(self, name: str) -> Model:
        """Return the model with this name. Raise an `APIError` with status 404 if no model has the name."""
        if name not in self.by_name:
            known = ", ".join(self.by_name)
            raise APIError(404, f"there is no model {name!r}; this server has: {known}", "model", "model_not_found")
        return self.by_name[name]

    def speaking(self, name: str | None) -> Model:
        """Return the model with this name. If `name` is None, return the first model.

        Raises:
            APIError: 404 if no model has the name, 400 if `name` is None and the models have different tokenizers.
        """
        if name is not None:
            return self[name]
        if len(self.by_name) > 1 and not self._one_tokenizer:
            raise APIError(400, f"name a model, since their tokenizers differ: {', '.join(self.by_name)}", "model")
        return next(iter(self.by_name.values()))

    @cached_property
    def _one_tokenizer(self) -> bool:
        tokenizers = [model.ensemble.tokenizer for model in self.by_name.values()]
        if not all(hasattr(each, "backend_tokenizer") for each in tokenizers):
            return False
        return len({(each.backend_tokenizer.to_str(), str(each.chat_template)) for each in tokenizers}) == 1

    @property
    def workers(self) -> list[Worker]:
        return [worker for model in self.by_name.values() for worker in model.workers]

    def close(self, seconds: float) -> None:
        """End all jobs and all decode threads. Wait at most `seconds` in total for steps that still run."""
        end = time.monotonic() + seconds
        for worker in self.workers:
            worker.stop()
        for worker in self.workers:
            worker.thread.join(max(0.0, end - time.monotonic()))


def _model(name: str, config: Config, settings: Settings, metrics: Metrics, loaded: Loaded, share: int) -> Model:
    """Load the members of a config and return the model.

    Each ensemble of the model gets 1 / `share` of the memory for caches.
    """
    lineup, prompts = load_members(config.members, {}, loaded, config.draft, config.generation_config, config.threads)
    tokenizer = prompts.tokenizer
    if settings.chat_template is not None and tokenizer is not None and not tokenizer.chat_template:
        tokenizer.chat_template = settings.chat_template
    prompts.template.notify = LOG.warning
    memory, limit = cache_budget(lineup) // share, settings.rows + settings.queue
    meter = Meter(metrics, name)  # also for the guided worker, which has the same name in the metrics

    def worker(ensemble: Ensemble) -> Worker:
        return Worker(ensemble, meter, memory, limit, settings.timeout)

    methods = (config.combine, config.schedule, config.verification)
    own = Ensemble(lineup, prompts, *methods, settings.rows, memory)
    guided = None
    if config.alone is not None:
        pair, twice = load_guided(config.alone, loaded, config.generation_config)
        twice.template.notify = LOG.warning
        guided = worker(Ensemble(pair, twice, "guidance", rows=settings.rows, memory=memory))
    model = Model(name, config, worker(own), guided)
    metrics.running.labels(name).set_function(lambda: sum(each.running() for each in model.workers))
    metrics.waiting.labels(name).set_function(lambda: sum(each.waiting() for each in model.workers))
    metrics.cache.labels(name).set_function(lambda: max(each.cache_use() for each in model.workers))
    return model
