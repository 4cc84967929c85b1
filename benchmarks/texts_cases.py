"""The requests of texts.py: what is loaded, what is asked of it, and what is asked of a server.

The name of a request says everything about it: members, combination, schedule, and what else is special.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from unisono import SamplingParams, combine

M, N, S = "zoo:code-m", "zoo:code-n", "zoo:code-s"
EXACT = {"dtype": "float32", "compile": "off"}
TOKENS = 16  # per request: enough for several rejections


def sharpened(logits: Sequence[Tensor], warp: Any) -> Tensor:
    """A law of the user's own."""
    law: Tensor = warp(torch.stack(list(logits)).amax(0) * 1.5)
    return law


def discouraged(ids: Tensor, logits: Tensor) -> Tensor:
    """A logits processor of the user's own: the last token is less probable."""
    return logits.scatter_add(-1, ids[:, -1:], torch.full_like(logits[:, :1], -2.0))


def random_models() -> list[dict[str, Any]]:
    """Two small models without a tokenizer."""
    members = []
    for seed, width in enumerate((32, 48)):
        sizes = {"hidden_size": width, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
        config = LlamaConfig(vocab_size=96, max_position_embeddings=128, initializer_range=0.3, **sizes)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = LlamaForCausalLM(config)
        members.append({"model": model.eval(), "tokenizer": None, "name": f"random-{seed}", "compile": "off"})
    return members


TREE = combine.cosd_tree(str(Path(__file__).parent / "results" / "cosd_tree.json"))
# What is loaded, by the first word of a request's name
LINEUPS: dict[str, dict[str, Any]] = {
    "m+n": {"members": [M, N], **EXACT},
    "m+n:3rows": {"members": [M, N], "rows": 3, **EXACT},
    "m+s": {"members": [M, S], **EXACT},
    "s+m": {"members": [S, M], **EXACT},
    "m+m": {"members": [M, M], **EXACT},
    "m+n+s": {"members": [M, N, S], **EXACT},
    "skills": {"members": ["zoo:skills-s", "zoo:skills-m", "zoo:skills-n"], **EXACT},
    "prompted": {"members": [M, {"model": M, "prompt": "# Python 3\n{prompt}", "name": "told"}, N], **EXACT},
    "m+n/s": {"members": [M, N], "draft": S, **EXACT},
    "m/s": {"members": [M], "draft": S, **EXACT},
    "ids": {"members": random_models()},
}
COMBINATIONS: dict[str, Sequence[object]] = {
    "m+n": ("weighted:0.7,0.3", "weighted:0.3,0.7,order=combine-first", "drawn:0.5,0.5", "product:1,1", sharpened),
    "m+s": ("weighted:0.4,0.6", "contrastive:0.1", "contrastive_masked:0.1,0.5", "realign:0.6", "only:0"),
    "s+m": (
        *("cosd:0.5,0.5", TREE, "cascade:chow,0.3", "cascade:opt,0.3", "cascade:tokenv3,0.3", "nudge:0.4"),
        *("gate:1,2", "drawn:0.6,0.4"),
    ),
    "m+m": ("guidance:1.5", "context_aware:0.5"),
    "m+n+s": (
        *("weighted:1,1,1", "weighted:3,2,1,order=combine-first", "drawn:3,2,1", "product:1,0.5,0.5", "proxy:0.5"),
        *("cosd:0.5,0.5", TREE, "gate:1,1,1", "gate:1,1,1,threshold=1.5,by=entropy", "only:2", sharpened),
    ),
    "skills": ("weighted:1,1,1", TREE),
    "prompted": ("weighted:1,1,1", "cosd:0.5,0.5"),
    "m+n/s": ("weighted:0.5,0.5", "drawn:0.5,0.5", "contrastive:0.1", "nudge:0.4"),
    "m/s": ("only:0",),
    "ids": ("weighted:0.5,0.5", "product:1,1", "cosd:0.5,0.5"),
}
SCHEDULES = ("standard", "parallel", "speculative:3", "cos", "lookup:4", "auto")
VERIFICATIONS = ("token", "block", "coupled")
# Each option alone: what it may break is then known from the name
OPTIONS: dict[str, dict[str, Any]] = {
    "top_k": {"top_k": 20},
    "top_p": {"top_p": 0.8},
    "min_p": {"min_p": 0.05},
    "penalties": {"repetition_penalty": 1.3, "presence_penalty": 0.4, "frequency_penalty": 0.3},
    "logit_bias": {"logit_bias": {199: -3.0, 258: 2.0, 306: 1.5}},
    "bad_words": {"bad_words": ["self", "return"]},
    "allowed_token_ids": {"allowed_token_ids": list(range(8, 600))},
    "min_tokens": {"min_tokens": 12, "stop": ["\n"], "stop_token_ids": [199]},
    "logits_processors": {"logits_processors": [discouraged]},
    "stop": {"stop": [":", "\n\n"]},
    "include_stop": {"stop": ["e", "("], "include_stop": True},
    "stop_token_ids": {"stop_token_ids": [199, 258], "ignore_eos": True},
    "logprobs": {"logprobs": True, "top_logprobs": 3},
    "processed": {"logprobs": True, "top_logprobs": 3, "logprobs_mode": "processed", "top_k": 9},
    "prompt_logprobs": {"prompt_logprobs": True, "logprobs": True},
    "n": {"n": 3},
}
PROMPTS = (
    "def add(a, b):\n", "class Stack:\n    def __init__(self):\n", "x = [1, 2, 3]\ny = [1, 2, 3]\nz = [1,",
    "import os\nimport sys\n\n\ndef main():\n    parser =", "# naïve café\nprint(", "for line in open(path):\n    if",
    "def read_lines(path):\n    with open(path) as file:\n        return", "try:\n",
)  # fmt: skip
IDS = ([1, 2, 3, 4, 2, 3, 4], [9, 50, 9], [77])
PAIRS = (["def add(a, b):\n", "import os", "", "x = 1 "], ["    return a + b\n", "\nimport sys", "class A:", "+ 2"])
MESSAGES = ({"role": "system", "content": "Write Python."}, {"role": "user", "content": "Add two numbers."})
TEMPLATE = "{% for message in messages %}# {{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"


@dataclass(frozen=True)
class Case:
    """One call of an ensemble. `params` has one entry per prompt; `method` is what the call overrides."""

    name: str
    method: Mapping[str, Any]
    prompts: Sequence[Any] = ()
    params: Sequence[SamplingParams] = ()
    call: str = "generate"

    @property
    def lineup(self) -> str:
        return self.name.split()[0]


def sampled(seed: int, temperature: float, **options: Any) -> SamplingParams:
    return SamplingParams(**{"max_tokens": TOKENS, "seed": seed, "temperature": temperature, **options})


def case(lineup: str, combination: object, schedule: str, *words: str, **fields: Any) -> Case:
    """A case with a name that says everything; `cos` gets a draft length for each member that proposes."""
    loaded = LINEUPS[lineup]
    count = len(loaded["members"]) + ("draft" in loaded)
    schedule = "cos:" + ",".join(("1", "2", "3", "4")[:count]) if schedule == "cos" else schedule
    written = combination if isinstance(combination, str) else getattr(combination, "__name__", "cosd_tree")
    method = {"combine": combination, "schedule": schedule, **fields.pop("method", {})}
    return Case(" ".join((lineup, written, schedule, *words)), method, **fields)


def law_cases() -> Iterator[Case]:
    """Every combination under every schedule: three rows, each at another temperature."""
    for lineup, combinations in COMBINATIONS.items():
        negative = {"negative_prompt": "import"} if lineup == "m+m" else {}
        params = (sampled(1, 0), sampled(2, 0.8, top_k=50, top_p=0.95, min_p=0.01), sampled(3, 1, **negative))
        prompts = IDS if lineup == "ids" else PROMPTS[:3]
        relay = ("relay:2",) if len(LINEUPS[lineup]["members"]) > 2 or "draft" in LINEUPS[lineup] else ()
        for combination, schedule in itertools.product(combinations, (*SCHEDULES, *relay)):
            yield case(lineup, combination, schedule, prompts=prompts, params=params)
        for combination in combinations:
            if str(combination).startswith(("drawn", "weighted")):
                yield case(lineup, combination, "risky:1", prompts=prompts, params=params)


def verification_cases() -> Iterator[Case]:
    laws = (("m+n", "drawn:0.5,0.5"), ("m+n", "weighted:0.7,0.3"), ("m+s", "contrastive:0.1"), ("s+m", "cosd:0.5,0.5"))
    schedules = ("standard", "speculative:3", "cos", "lookup:4", "risky:1")
    params = [sampled(seed, temperature) for seed, temperature in ((4, 0.8), (5, 1), (6, 1))]
    for law, schedule, rule in itertools.product(laws, schedules, VERIFICATIONS):
        yield case(*law, schedule, rule, prompts=PROMPTS[3:6], params=params, method={"verification": rule})


def batch_cases() -> Iterator[Case]:
    """One row, and eight that end at different times; in one lineup five of them have to wait."""
    laws = (("m+n:3rows", "weighted:0.5,0.5"), ("m+s", "contrastive:0.1"), ("m+n+s", "weighted:1,1,1"))
    eight = [sampled(seed, (0, 0.8, 1)[seed % 3], max_tokens=6 + 3 * seed) for seed in range(8)]
    for law, schedule in itertools.product(laws, SCHEDULES):
        yield case(*law, schedule, "1 row", prompts=PROMPTS[:1], params=[sampled(7, 1, max_tokens=2 * TOKENS)])
        yield case(*law, schedule, "8 rows", prompts=PROMPTS, params=eight)


def option_cases() -> Iterator[Case]:
    for name, options in OPTIONS.items():
        fields: dict[str, Any] = {
            "params": [sampled(8, 0, **options), sampled(9, 1, **options)],
            "prompts": PROMPTS[5:7],
        }
        yield case("m+s", "contrastive:0.1", "speculative:3", name, **fields)
        for schedule in ("standard", "cos", "lookup:4", "auto"):
            yield case("m+n", "weighted:0.7,0.3", schedule, name, **fields)
    for lineup, combination in (("m+n", "drawn:0.5,0.5"), ("m+n/s", "weighted:0.5,0.5"), ("m+m", "guidance:1.5")):
        yield case(lineup, combination, "cos", "logprobs", prompts=PROMPTS[:1], params=[sampled(9, 1, logprobs=True)])


def other_calls() -> Iterator[Case]:
    """Streams, chats, and log-probabilities of given texts."""
    for schedule, call in itertools.product(("standard", "cos", "auto"), ("stream", "chat")):
        yield case("m+n", "weighted:0.7,0.3", schedule, call, prompts=PROMPTS[:2], params=[sampled(1, 1)], call=call)
    for lineup, combinations in COMBINATIONS.items():
        if lineup not in ("ids", "prompted"):
            for combination in combinations:
                yield case(lineup, combination, "standard", "score", call="score")


# Without a draft model: until commit 65beaa0 the server refused every request to a model that has one
SERVED = {
    "pair": {"members": [M, N], "combine": "weighted:0.7,0.3", "sampling": {"max_tokens": TOKENS}},
    "contrast": {"members": [M, S], "combine": "contrastive:0.1", "sampling": {"temperature": 0.8}},
}
COMPLETION, CHAT = "/v1/completions", "/v1/chat/completions"
PLAIN: dict[str, Any] = {"model": "pair", "prompt": PROMPTS[1], "seed": 1, "max_tokens": TOKENS}
TALK: dict[str, Any] = {"model": "pair", "messages": list(MESSAGES), "seed": 2, "max_tokens": TOKENS}
COUNTED = {"spec_decode_metrics": "detailed"}
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "completion": (COMPLETION, PLAIN | COUNTED),
    "greedy": (COMPLETION, PLAIN | COUNTED | {"temperature": 0}),
    "contrast": (COMPLETION, PLAIN | COUNTED | {"model": "contrast"}),
    "several": (COMPLETION, PLAIN | {"prompt": list(PROMPTS[:2]), "n": 2}),
    "ids": (COMPLETION, PLAIN | {"prompt": [199, 258, 306]}),
    "logprobs": (COMPLETION, PLAIN | COUNTED | {"logprobs": 3}),
    "echo": (COMPLETION, PLAIN | {"echo": True, "max_tokens": 0, "logprobs": 2}),
    "echo and text": (COMPLETION, PLAIN | {"echo": True, "logprobs": 1, "prompt": list(PROMPTS[:2])}),
    "echo without logprobs": (COMPLETION, PLAIN | {"echo": True}),
    "stream": (COMPLETION, PLAIN | {"stream": True, "stream_options": {"include_usage": True}}),
    "trace": (COMPLETION, PLAIN | {"stream": True, "trace": {"candidates": 2}}),
    "stop": (COMPLETION, PLAIN | {"stop": [":", "("]}),
    "weights": (COMPLETION, PLAIN | COUNTED | {"collaboration": {"weights": [0.2, 0.8]}}),
    "product": (COMPLETION, PLAIN | COUNTED | {"collaboration": {"combine": "product:1,1"}}),
    "edits": (COMPLETION, PLAIN | {"presence_penalty": 1.0, "repetition_penalty": 1.2, "logit_bias": {"258": 2.0}}),
    "guidance": (COMPLETION, PLAIN | COUNTED | {"model": "code-m", "guidance_scale": 1.5, "negative_prompt": "import"}),
    "alone": (COMPLETION, PLAIN | COUNTED | {"model": "code-s"}),
    "chat": (CHAT, TALK | COUNTED),
    "chat logprobs": (CHAT, TALK | {"logprobs": True, "top_logprobs": 2, "n": 2}),
    "chat stream": (CHAT, TALK | {"stream": True, "logprobs": True}),
}
SERVED_SCHEDULES = ("standard", "speculative:3", "lookup:4", "auto")


def cases() -> Iterator[Case]:
    """All calls of the library."""
    yield from law_cases()
    yield from verification_cases()
    yield from batch_cases()
    yield from option_cases()
    yield from other_calls()


def served_requests() -> Iterator[tuple[str, tuple[str, dict[str, Any]]]]:
    """Names, paths and bodies of all requests to the server."""
    for schedule, (name, (path, body)) in itertools.product(SERVED_SCHEDULES, REQUESTS.items()):
        collaboration = {**body.get("collaboration", {}), "schedule": schedule}
        yield f"server {name} {schedule}", (path, body | {"collaboration": collaboration})
