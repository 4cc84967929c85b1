"""Decode with the library transformers instead of unisono, in the same run and with the same models.

`transformers:generate` decodes with the first member alone. `transformers:assisted:G` also lets the last member draft G
tokens at a time. `transformers:ensemble:G` also sets `assistant_ensemble_weight` to the weight of the first member in
`weighted`.

`transformers:ensemble:G` is meant to decode the same mixture as `weighted`. But transformers draws the token after an
accepted draft from the first member alone, so its texts follow another law. `share_of_law` measures this error.
"""

import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from unisono.combine import Combination, weighted
from unisono.combine.mixtures import Weighted
from unisono.ensemble import Ensemble
from unisono.errors import unknown
from unisono.members.hf.load import model_of
from unisono.params import SamplingParams
from unisono.sampling.warp import Warp

NAMES = ("transformers:generate", "transformers:assisted:G", "transformers:ensemble:G")


def missing(name: str, combination: Combination, members: int) -> str | None:
    """Return the reason why transformers cannot decode the combination, or None if it can.

    Raises:
        ConfigurationError: `name` does not have the form of one of `NAMES`.
    """
    kind, count = _parse(name)
    alone = combination.needed(members) == (0,)
    if kind == "generate":
        return None if alone else "it decodes one model: for only:0"
    if members < 2 or count < 1:
        return "it needs a second member that drafts at least one token"
    if kind == "assisted":
        return None if alone else "it follows one model: for only:0"
    if not hasattr(GenerationConfig(), "assistant_ensemble_weight"):
        return "this version of transformers has no assistant_ensemble_weight"
    return None if isinstance(combination, Weighted) and members == 2 else "it mixes two models: for weighted"


def _parse(name: str) -> tuple[str, int]:
    _, kind, count = (*name.split(":"), "0")[:3]
    if kind not in ("generate", "assisted", "ensemble") or not count.isdecimal():
        raise unknown("peer", name, NAMES)
    return kind, int(count)


def generate(name: str, ensemble: Ensemble, prompts: Sequence[Any], params: SamplingParams) -> tuple[int, float]:
    """Decode the prompts one after the other. Return the number of generated tokens and the seconds."""
    kind, count = _parse(name)
    model, draft = model_of(ensemble.members[0]), model_of(ensemble.members[-1])
    options = _options(params)
    if kind != "generate":
        options |= {"assistant_model": drafting(draft, count)}
    if kind == "ensemble":
        options |= {"assistant_ensemble_weight": ensemble.method(params).combination.traits(Warp.of(params)).weight(0)}
    tokens, seconds = 0, 0.0
    for prompt in prompts:
        ids = torch.tensor([ensemble.prompts.ids(prompt)], device=model.device)
        started = time.perf_counter()
        if params.seed is not None:
            torch.manual_seed(params.seed)
        output = model.generate(ids, **options)
        seconds += time.perf_counter() - started
        tokens += output.shape[1] - ids.shape[1]
    return tokens, seconds


def _options(params: SamplingParams) -> dict[str, Any]:
    options = dict.fromkeys(("max_new_tokens", "min_new_tokens"), params.max_tokens) | {"pad_token_id": 0}
    if params.temperature == 0:
        return {**options, "do_sample": False}
    return {**options, "do_sample": True, "temperature": params.temperature, "top_k": 0, "top_p": 1.0}


def drafting(model: Any, count: int) -> Any:
    """Set the model to draft exactly `count` tokens, even if their probabilities are small. Return the model."""
    config = model.generation_config
    config.num_assistant_tokens = count
    config.num_assistant_tokens_schedule = "constant"
    config.assistant_confidence_threshold = 0.0
    return model


def share_of_law(drafted: int = 1, tokens: int = 900, seed: int = 0) -> dict[str, float]:
    """Return the share of token 0 in texts of transformers and of unisono, for a mixture.

    The mixture gives equal weights to two models with the constant laws (.9, .1) and (.1, .9). So the correct share is
    0.5, which is the entry `exact`. For independent tokens, the standard error is at most 0.5 / sqrt(tokens).
    """
    models = [_constant(0.9), _constant(0.1)]
    ensemble = Ensemble.load(models, weighted([0.5, 0.5]), compile="off", dtype="auto")
    params = SamplingParams(max_tokens=tokens, ignore_eos=True, seed=seed)
    torch.manual_seed(seed)
    pair = {"assistant_model": drafting(models[1], drafted), "assistant_ensemble_weight": 0.5}
    theirs = models[0].generate(torch.zeros(1, 1, dtype=torch.long), **_options(params), **pair)[0, 1:].tolist()
    ours = ensemble.generate([0], params, schedule=f"speculative:{drafted}", progress=False)[0].token_ids
    texts = {f"transformers:ensemble:{drafted}": theirs, "unisono": ours}
    return {"exact": 0.5, **{name: ids.count(0) / len(ids) for name, ids in texts.items()}, "tokens": tokens}


def _constant(first: float) -> LlamaForCausalLM:
    """Return a model with two tokens. Its law after any text is (first, 1 - first)."""
    width = 8
    sizes = {"vocab_size": 2, "hidden_size": width, "intermediate_size": width, "max_position_embeddings": 2048}
    counts = {"num_hidden_layers": 1, "num_attention_heads": 1, "bos_token_id": None, "eos_token_id": None}
    model = LlamaForCausalLM(LlamaConfig(**sizes, **counts, tie_word_embeddings=False)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(0.0 if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0)
        model.lm_head.weight[:] = (torch.tensor([first, 1 - first]).log() / width).unsqueeze(1)
    return model
