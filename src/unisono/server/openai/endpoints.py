"""The endpoints for chats, completions, models and tokens."""

import json
import logging
from collections.abc import Callable
from typing import TypeVar

from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from unisono.server.models import Model
from unisono.server.openai import listing
from unisono.server.openai.answer import Answer
from unisono.server.openai.order import Order, chat_order, completion_order
from unisono.server.openai.schema import ChatRequest, CompletionRequest, DetokenizeRequest, Sampling, TokenizeRequest
from unisono.server.openai.shapes import ChatShape, CompletionShape
from unisono.server.service import Service
from unisono.server.settings import Settings
from unisono.server.sse import JSON

LOG = logging.getLogger("unisono.server")
T = TypeVar("T", bound=Sampling)


def add(app: FastAPI, service: Service) -> None:
    """Add the endpoints to the application."""
    _add_generation(app, service)
    _add_models(app, service)
    _add_tokens(app, service)


def _add_generation(app: FastAPI, service: Service) -> None:
    @app.post("/v1/chat/completions")
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        """Return the next message of a conversation."""
        order = await _ordered(service, body, chat_order)
        shape = ChatShape(order.model.ensemble.tokenizer, order.top is not None, order.inside)
        return await Answer(body, order, shape, service.settings.timeout).respond(request)

    @app.post("/v1/completions")
    async def completions(body: CompletionRequest, request: Request) -> Response:
        """Return continuations of the prompts."""
        order = await _ordered(service, body, completion_order)
        shape = CompletionShape(order.model.ensemble.tokenizer, order.top is not None)
        return await Answer(body, order, shape, service.settings.timeout).respond(request)


async def _ordered(service: Service, body: T, make_order: Callable[[T, Model, Settings], Order]) -> Order:
    service.require_open()
    model = service.models[body.model]
    if service.settings.log_prompts:
        LOG.info("prompt: %s", json.dumps(body.model_dump(include={"prompt", "messages"})))
    return await run_in_threadpool(make_order, body, model, service.settings)


def _add_models(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models")
    async def models() -> Response:
        """Return a list that describes all models."""
        found = [listing.described(model, service.settings) for model in service.models.by_name.values()]
        return JSON({"object": "list", "data": found})

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> Response:
        """Return the description of one model."""
        return JSON(listing.described(service.models[name], service.settings))


def _add_tokens(app: FastAPI, service: Service) -> None:
    @app.post("/tokenize")
    def tokenize(body: TokenizeRequest) -> Response:
        """Return the token ids of a text or of a conversation.

        `model` is optional if all models have the same tokenizer.
        """
        return JSON(listing.tokenized(body, service.models.speaking(body.model), service.settings))

    @app.post("/detokenize")
    def detokenize(body: DetokenizeRequest) -> Response:
        """Return the text of the token ids. `model` is optional if all models have the same tokenizer."""
        return JSON(listing.detokenized(body, service.models.speaking(body.model)))

    @app.get("/tokenizer_info")
    def tokenizer_info(model: str | None = None) -> Response:
        """Return the special tokens and the chat template of a model."""
        return JSON(listing.tokenizer_info(service.models.speaking(model)))
