"""Descriptions of models and their tokenizers, and conversions between texts and token ids."""

from typing import Any

from unisono.combine.parse import FORMS
from unisono.errors import UnisonoError
from unisono.server.errors import APIError, refused
from unisono.server.models import Model
from unisono.server.openai.order import SAFE, chat_of
from unisono.server.openai.schema import DetokenizeRequest, TokenizeRequest
from unisono.server.settings import Settings
from unisono.tokens.token_text import token_texts


def described(model: Model, settings: Settings) -> dict[str, Any]:
    """Return the entry of a model in `/v1/models`: the fields of OpenAI, and how the model combines its members."""
    ensemble = model.ensemble
    members = [
        {
            "name": member.name,
            "parameters": member.parameters,
            "context": member.context_length,
            "drafts_only": index not in ensemble.lineup.combined,
        }
        for index, member in enumerate(ensemble.members)
    ]
    return {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": "unisono",
        "max_model_len": ensemble.lineup.context_length,
        "members": members,
        "combination": ensemble.combination().name,
        "schedule": model.config.schedule,
        "verification": model.config.verification,
        "generation_config": dict(ensemble.lineup.sampling),
        "allowed": list(settings.allow),
        "combinations": list(SAFE),
        "per_member": [name for name in SAFE if FORMS[name].per_member],
        "guidance": model.guided is not None,
        "chat": bool(getattr(ensemble.tokenizer, "chat_template", None)),
    }


def tokenized(body: TokenizeRequest, model: Model, settings: Settings) -> dict[str, Any]:
    """Return the answer of `/tokenize`.

    Raises:
        APIError: 400 if the request has neither a prompt nor messages, if it has both, or if the text cannot be
            tokenized.
    """
    if (body.prompt is None) == (body.messages is None):
        raise APIError(400, "give either prompt or messages", "prompt")
    tokenizer = _tokenizer(model)
    try:
        if body.messages is not None:
            ids = model.ensemble.prompts.ids(chat_of(body, body.messages, settings))
        else:
            text = (body.prompt or "").encode().decode()  # `encode` raises an error for a lone surrogate
            ids = tokenizer.encode(text, add_special_tokens=body.add_special_tokens)
    except UnicodeEncodeError:
        raise APIError(400, "prompt: half of a surrogate pair is no text", "prompt") from None
    except UnisonoError as error:
        raise refused(error, TokenizeRequest.model_fields) from error
    found = {"count": len(ids), "max_model_len": model.ensemble.lineup.context_length, "tokens": ids}
    return {**found, "token_strs": token_texts(tokenizer, ids)} if body.return_token_strs else found


def detokenized(body: DetokenizeRequest, model: Model) -> dict[str, str]:
    """Return the text of the token ids. Raise an `APIError` with status 400 if an id is outside the vocabulary."""
    tokenizer, size = _tokenizer(model), model.ensemble.prompts.vocabulary.size
    outside = [token for token in body.tokens if token >= size]
    if outside:
        raise APIError(400, f"tokens: outside the vocabulary of {size}: {outside[0]}", "tokens")
    return {"prompt": tokenizer.decode(body.tokens, clean_up_tokenization_spaces=False)}


def tokenizer_info(model: Model) -> dict[str, Any]:
    """Return the fields of vLLM's `/tokenizer_info`.

    `add_bos_token` is true if the tokenizer adds the start token to a text.
    """
    tokenizer = _tokenizer(model)
    names = ("bos_token", "eos_token", "pad_token", "unk_token", "chat_template")
    start = tokenizer.bos_token_id
    return {
        "tokenizer_class": type(tokenizer).__name__,
        **{name: getattr(tokenizer, name, None) for name in names},
        "add_bos_token": start is not None and start in tokenizer.encode("a")[:1],
        "model_max_length": model.ensemble.lineup.context_length,
        "clean_up_tokenization_spaces": False,
    }


def _tokenizer(model: Model) -> Any:
    if model.ensemble.tokenizer is None:
        raise APIError(400, f"model {model.name} has no tokenizer", "model")
    return model.ensemble.tokenizer
