"""Chat, completions, models and tokens: from a body to an answer."""

import json
import logging
from typing import Any

from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from unisono.server.openai import listing
from unisono.server.openai.answer import Answer
from unisono.server.openai.order import Order, chat_order, completion_order
from unisono.server.openai.schema import ChatRequest, CompletionRequest, DetokenizeRequest, TokenizeRequest
from unisono.server.openai.shapes import ChatShape, CompletionShape
from unisono.server.service import Service
from unisono.server.sse import JSON

LOG = logging.getLogger("unisono.server")


def add(app: FastAPI, service: Service) -> None:
    """Let the application answer at these paths."""
    _add_generation(app, service)
    _add_models(app, service)
    _add_tokens(app, service)


def _add_generation(app: FastAPI, service: Service) -> None:
    @app.post("/v1/chat/completions")
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        """Answer a conversation."""
        return await _answer(service, request, body, chat_order, _chat_shape)

    @app.post("/v1/completions")
    async def completions(body: CompletionRequest, request: Request) -> Response:
        """Continue prompts."""
        return await _answer(service, request, body, completion_order, _completion_shape)


def _chat_shape(tokenizer: Any, order: Order) -> ChatShape:
    return ChatShape(tokenizer, order.top is not None, order.inside)


def _completion_shape(tokenizer: Any, order: Order) -> CompletionShape:
    return CompletionShape(tokenizer, order.top is not None)


async def _answer(service: Service, request: Request, body: Any, make_order: Any, make_shape: Any) -> Response:
    service.require_open()
    model = service.models[body.model]
    if service.settings.log_prompts:
        LOG.info("prompt: %s", json.dumps(body.model_dump(include={"prompt", "messages"})))
    order = await run_in_threadpool(make_order, body, model, service.settings)
    shape = make_shape(model.ensemble.tokenizer, order)
    return await Answer(body, order, shape, service.settings.timeout).respond(request)


def _add_models(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models")
    async def models() -> Response:
        """What can be asked for as `model`."""
        found = [listing.described(model, service.settings) for model in service.models.by_name.values()]
        return JSON({"object": "list", "data": found})

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> Response:
        """One of them."""
        return JSON(listing.described(service.models[name], service.settings))


def _add_tokens(app: FastAPI, service: Service) -> None:
    @app.post("/tokenize")
    def tokenize(body: TokenizeRequest) -> Response:
        """The token ids of a text or a conversation. `model` may be left out where all models have one tokenizer."""
        return JSON(listing.tokenized(body, service.models.speaking(body.model), service.settings))

    @app.post("/detokenize")
    def detokenize(body: DetokenizeRequest) -> Response:
        """The text of token ids."""
        return JSON(listing.detokenized(body, service.models.speaking(body.model)))

    @app.get("/tokenizer_info")
    def tokenizer_info(model: str | None = None) -> Response:
        """The special tokens and the chat template."""
        return JSON(listing.tokenizer_info(service.models.speaking(model)))
