"""The models that are served: each an ensemble with a thread that decodes; weights are shared between them."""

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
    """A collaboration as requests see it.

    guided: the worker of the same model beside itself, for `guidance_scale`; only for a model that combines one member.
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
    """All models, by name; the first is the default of the playground."""

    def __init__(self, models: Mapping[str, Model]) -> None:
        self.by_name = dict(models)

    @classmethod
    def load(cls, catalog: Catalog, settings: Settings, metrics: Metrics) -> "Models":
        """Load every member once and make the ensembles; their threads do not run yet.

        Raises:
            MemberError, ConfigurationError: as for `Ensemble.load`.
        """
        loaded: Loaded = []
        share = sum(1 if config.alone is None else 2 for config in catalog.models.values())  # with the guided ones
        return cls(
            {name: _model(name, config, settings, metrics, loaded, share) for name, config in catalog.models.items()}
        )

    def __getitem__(self, name: str) -> Model:
        """The model of that name; APIError 404 if there is none."""
        if name not in self.by_name:
            known = ", ".join(self.by_name)
            raise APIError(404, f"there is no model {name!r}; this server has: {known}", "model", "model_not_found")
        return self.by_name[name]

    def speaking(self, name: str | None) -> Model:
        """The model of that name; without a name the first one, if all have the same tokenizer.

        Raises:
            APIError: 404 if there is none; 400 if a name is needed.
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
        """End all jobs and all threads; those that are in the middle of a step are waited for so long together."""
        end = time.monotonic() + seconds
        for worker in self.workers:
            worker.stop()
        for worker in self.workers:
            worker.join(max(0.0, end - time.monotonic()))


def _model(name: str, config: Config, settings: Settings, metrics: Metrics, loaded: Loaded, share: int) -> Model:
    """Args: share: among how many ensembles the memory for caches is divided."""
    lineup, prompts = load_members(config.members, {}, loaded, config.draft, config.generation_config, config.threads)
    tokenizer = prompts.tokenizer
    if settings.chat_template is not None and tokenizer is not None and not tokenizer.chat_template:
        tokenizer.chat_template = settings.chat_template
    prompts.template.notify = LOG.warning
    memory, limit = cache_budget(lineup) // share, settings.rows + settings.queue
    meter = Meter(metrics, name)  # also of the guided twin: one name, one model

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
    metrics.watch(
        name,
        running=lambda: sum(each.running() for each in model.workers),
        waiting=lambda: sum(each.waiting() for each in model.workers),
        cache=lambda: max(each.cache_use() for each in model.workers),
    )
    return model
