"""Each member reads its own prefix and then the same tokens: compared with plain forwards, in every entry point."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from tokenizers import processors

from tests import tiny
from tests.facade.one_line import one_line
from tests.server.live import live
from unisono import Ensemble, SamplingParams
from unisono.config import Config
from unisono.errors import RequestError
from unisono.members.source import Source
from unisono.server.catalog import Catalog
from unisono.text.encoder import Chat
from unisono.text.prompts import Pair

BOS, EOS, CLOSE = 0, 1, 1e-4
START = "{{ bos_token }}"
TURNS = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: "
MESSAGES = [{"role": "user", "content": "hello"}]
PLAIN, ADDS = tiny.tokenizer(), tiny.tokenizer(start=True)
GREEDY = SamplingParams(max_tokens=5, temperature=0, logprobs=True, prompt_logprobs=True)
ORDERS = pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["plain first", "adds first"])


def around(single: str) -> Any:
    """A tokenizer that puts special tokens around each text."""
    tokens = tiny.tokenizer()
    special = [("<s>", BOS), ("</s>", EOS)]
    tokens.backend_tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=special)
    return tokens


def load(order: Sequence[int], tokenizers: Sequence[Any] = (PLAIN, ADDS), **options: Any) -> Ensemble:
    """The two models of `tiny.text_models`, each with its tokenizer, listed in this order."""
    members = list(zip(tiny.text_models(), tokenizers, strict=True))
    listed = [{"model": members[k][0], "tokenizer": members[k][1], "name": str(k)} for k in order]
    return Ensemble.load(listed, **options)


@functools.cache
def both(order: tuple[int, int]) -> Ensemble:
    return load(order)


def ids(text: str) -> list[int]:
    found: list[int] = PLAIN.encode(text, add_special_tokens=False)
    return found


def scored(prompts: Sequence[Sequence[int]], target: Sequence[int]) -> list[float]:
    """Log-probabilities of the tokens behind each model's own prompt, in the mixture, by plain forwards."""
    laws = []
    for model, prompt in zip(tiny.text_models(), prompts, strict=True):
        logits = tiny.fresh_logits(model, [*prompt, *target])[len(prompt) - 1 : -1]
        laws.append(logits.double().softmax(-1))
    law = torch.stack(laws).mean(0)
    return law.gather(-1, torch.tensor(target).unsqueeze(-1)).log().flatten().tolist()


def greedy(prompts: Sequence[Sequence[int]], count: int) -> list[int]:
    """The most probable tokens of the mixture, one after another."""
    text: list[int] = []
    for _ in range(count):
        models = zip(tiny.text_models(), prompts, strict=True)
        laws = [tiny.fresh_logits(model, [*prompt, *text])[-1].softmax(-1) for model, prompt in models]
        text.append(int(torch.stack(laws).mean(0).argmax()))
    return text


def read(ensemble: Ensemble, prompt: Any) -> dict[str, list[int]]:
    """What each member reads, by its name."""
    contexts = ensemble.prompts.prepare(prompt).contexts
    return {name: list(context.tokens) for name, context in zip(ensemble.names, contexts, strict=True)}


HELLO = ids("hello")
READ: dict[
    str, tuple[Any, list[int], list[int]]
] = {  # a prompt, and what the plain member and the one that adds BOS read
    "text": ("hello", HELLO, [BOS, *HELLO]),
    "with BOS": ("<s>hello", [BOS, *HELLO], [BOS, *HELLO]),
    "ids": (HELLO, HELLO, HELLO),
    "ids with BOS": ([BOS, *HELLO], [BOS, *HELLO], [BOS, *HELLO]),
    "chat": (Chat(MESSAGES), ids("<s>user: hello\n<s>assistant: "), ids("<s>user: hello\n<s>assistant: ")),
}


@ORDERS
@pytest.mark.parametrize("kind", READ)
def test_texts_follow_each_members_own_prompt(order: tuple[int, int], kind: str):
    """Generated and streamed; a text that begins with BOS gets no second one, and ids are read as given."""
    prompt, *own = READ[kind]
    ensemble = both(order)
    assert read(ensemble, prompt) == {"0": own[0], "1": own[1]}
    results: list[Any] = [list(ensemble.stream(prompt, GREEDY, schedule="cos:2,1"))[-1].result]
    results += [ensemble.chat(MESSAGES, GREEDY)] if isinstance(prompt, Chat) else ensemble.generate([prompt], GREEDY)
    wanted = greedy(own, 5)
    logprobs = scored(own, wanted)
    for result in results:
        assert list(result.token_ids) == wanted
        assert result.logprobs == pytest.approx(logprobs, abs=CLOSE)
        assert_scored_behind_prefixes(result.prompt_logprobs, own, order[0])


def assert_scored_behind_prefixes(found: Sequence[float | None], own: Sequence[Sequence[int]], first: int) -> None:
    """Log-probabilities stand at the tokens that the first member reads; with equal prefixes only the first has none."""
    body = min(own, key=len)
    wanted = scored([each[: len(each) - len(body) + 1] for each in own], body[1:])
    missing = len(own[first]) - len(wanted)
    assert found[:missing] == (None,) * missing
    assert found[missing:] == pytest.approx(wanted, abs=CLOSE)


@ORDERS
@pytest.mark.parametrize(
    ("prompt", "continuation", "own", "target"),
    [
        ("hello", " world", [HELLO, [BOS, *HELLO]], ids("hello world")[len(HELLO) :]),
        ("<s>hello", " world", [[BOS, *HELLO]] * 2, ids("hello world")[len(HELLO) :]),
        ("", "hello", [[BOS]] * 2, HELLO),
        ("", "<s>hello", [[BOS]] * 2, HELLO),
        ("  ", "hello", [[BOS]] * 2, ids("  hello")),
    ],
)
def test_continuations_are_scored_alike_by_the_library_and_the_harness(
    order: tuple[int, int], prompt: str, continuation: str, own: list[list[int]], target: list[int]
):
    score = both(order).logprobs(prompt, continuation)
    assert score.token_ids == tuple(target)
    assert score.logprobs == pytest.approx(scored(own, target), abs=CLOSE)
    (found,) = harness(both(order)).loglikelihood(asked("loglikelihood", (prompt, continuation)))
    assert found == (pytest.approx(score.total), score.is_greedy)


@ORDERS
def test_penalties_and_look_ups_see_the_tokens_behind_the_prefixes(order: tuple[int, int]):
    """So BOS is penalised in neither order, and the order changes nothing."""
    params = SamplingParams(max_tokens=6, temperature=0, repetition_penalty=1.8, logprobs=True)
    (request,) = both(order).start("hello hello", params)
    assert list(request.row.task.prompt) == ids("hello hello")
    found, other = (both(each).generate("hello hello", params)[0] for each in (order, order[::-1]))
    assert found.token_ids == other.token_ids
    (alike,) = load(order, (ADDS, ADDS)).start("hello", params)
    assert list(alike.row.task.prompt) == [BOS, *HELLO]


@pytest.mark.parametrize(
    ("templates", "starts"),
    [
        ((START + TURNS, START + TURNS), ([BOS], [BOS])),
        ((START + TURNS, TURNS), ([BOS], [])),
        ((TURNS, START + TURNS), ([], [BOS])),
        ((START + TURNS, "{{ raise_exception('no') }}"), ([BOS], [BOS])),
        ((TURNS, TURNS), ([], [])),
    ],
)
def test_the_beginning_of_a_chat_is_that_of_each_members_own_template(templates: Any, starts: Any):
    """The first member writes the turns. Where a template fails, the tokenizer says what stands in front."""
    tokenizers = [tiny.tokenizer(chat_template=templates[0]), tiny.tokenizer(chat_template=templates[1], start=True)]
    found = read(load((0, 1), tokenizers), Chat(MESSAGES))
    turns = ids("user: hello\nassistant: ")
    assert found == {"0": [*starts[0], *turns], "1": [*starts[1], *turns]}


@pytest.mark.parametrize(
    ("template", "starts", "second", "start"),
    [(START + TURNS, False, True, [BOS]), (START + TURNS, True, False, []), (TURNS, True, True, [])],
)
def test_a_member_without_a_template_begins_a_chat_as_its_tokenizer_does(
    template: str, starts: bool, second: bool, start: list[int]
):
    """Unless its tokenizer has the prefix of the first one: then the template that there is says what both read."""
    tokenizers = [tiny.tokenizer(chat_template=template, start=starts), tiny.tokenizer(start=second)]
    tokenizers[1].chat_template = None
    ensemble = load((0, 1), tokenizers)
    own = [*start, *ids("user: hello\nassistant: ")]
    first = [BOS, *own[len(start) :]] if template.startswith(START) else own
    assert read(ensemble, Chat(MESSAGES)) == {"0": first, "1": own}
    assert ensemble.chat(MESSAGES, GREEDY).token_ids == tuple(greedy([first, own], 5))


@pytest.mark.parametrize(
    ("single", "prompt", "wanted"),
    [
        ("<s> </s> $A", "hello", [BOS, EOS, *HELLO]),
        ("<s> </s> $A", "<s></s>hello", [BOS, EOS, *HELLO]),
        ("<s> </s> $A", "<s>hello", [BOS, EOS, BOS, *HELLO]),
        ("</s> $A", "hello", [EOS, *HELLO]),
        ("<s> $A </s>", "hello", [BOS, *HELLO, EOS]),
    ],
)
def test_a_prefix_is_what_the_tokenizer_adds(single: str, prompt: str, wanted: list[int]):
    """Whatever it is called: of several tokens, or another one than BOS."""
    found = read(load((0, 1), (PLAIN, around(single))), prompt)
    assert found == {"0": ids(prompt), "1": wanted}


@ORDERS
def test_different_beginnings_are_no_part_of_the_scored_prompt(order: tuple[int, int]):
    """Where each member has something in front, the first token of the text is scored too."""
    ensemble = load(order, (around("</s> $A"), ADDS))
    (result,) = ensemble.generate("hello", GREEDY)
    wanted = scored([[EOS], [BOS]], HELLO)
    assert result.prompt_logprobs == (None, *(pytest.approx(each, abs=CLOSE) for each in wanted))


@ORDERS
def test_a_prefix_may_lie_outside_the_common_vocabulary(order: tuple[int, int]):
    """Only its own member reads it. In the text itself, such a token is refused."""
    wide, bos = tiny.tokenizer(), tiny.TEXT_VOCABULARY
    wide.add_special_tokens({"bos_token": "<begin>"})
    special = [("<begin>", bos)]
    wide.backend_tokenizer.post_processor = processors.TemplateProcessing(single="<begin> $A", special_tokens=special)
    small, large = tiny.text_models()[0], tiny.build("llama", seed=5, vocab_size=bos + 1)
    members = [{"model": small, "tokenizer": PLAIN}, {"model": large, "tokenizer": wide}]
    with pytest.warns(UserWarning, match="<begin>"):
        ensemble = Ensemble.load([members[k] for k in order])
    (result,) = ensemble.generate("hello", replace(GREEDY, max_tokens=1))
    law = tiny.fresh_logits(small, HELLO)[-1].softmax(-1)
    law = (law + tiny.fresh_logits(large, [bos, *HELLO])[-1][:bos].softmax(-1)) / 2
    assert result.token_ids == (int(law.argmax()),)
    assert result.logprobs == pytest.approx([float(law.max().log())], abs=CLOSE)
    message = one_line(RequestError, lambda: ensemble.generate([bos, *HELLO], GREEDY))
    assert f"a token id that not all members know: {bos}" in message


def test_a_prefix_that_the_model_does_not_have_is_refused():
    """Instead of an index error in its forward."""
    wide = tiny.tokenizer()
    wide.add_special_tokens({"bos_token": "<begin>"})
    special = [("<begin>", tiny.TEXT_VOCABULARY)]
    wide.backend_tokenizer.post_processor = processors.TemplateProcessing(single="<begin> $A", special_tokens=special)
    ensemble = load((0, 1), (PLAIN, wide))
    message = one_line(RequestError, lambda: ensemble.generate("hello", GREEDY))
    assert f"its model does not have: {tiny.TEXT_VOCABULARY}" in message


def test_a_drafter_reads_its_own_prefix():
    """It changes no text, and a prompt is scored as without it."""
    models = tiny.text_models()
    drafted = tiny.ensemble(models[:1], PLAIN, draft={"model": models[1], "tokenizer": ADDS})
    assert [list(each.tokens) for each in drafted.prompts.prepare("hello").contexts] == [HELLO, [BOS, *HELLO]]
    found, wanted = (
        each.generate("hello", GREEDY, schedule=schedule)[0]
        for each, schedule in ((drafted, "speculative:2"), (tiny.ensemble(models[:1], PLAIN), "standard"))
    )
    assert found.token_ids == wanted.token_ids
    assert wanted.prompt_logprobs is not None
    assert found.prompt_logprobs == (None, *(pytest.approx(each, abs=CLOSE) for each in wanted.prompt_logprobs[1:]))


# --- the server and the harness -------------------------------------------------------------------------------------------


def test_the_server_echoes_what_stands_behind_the_prefixes():
    """One log-probability for each token of the text behind the first; what a tokenizer puts in front is not listed."""
    members = [
        Source(model=model, tokenizer=tokens, name=str(index))
        for index, (model, tokens) in enumerate(zip(tiny.text_models(), (PLAIN, ADDS), strict=True))
    ]
    served = Catalog({name: Config(tuple(each)) for name, each in (("plain", members), ("adds", members[::-1]))})
    with live(served) as server:
        for name, added in (("plain", 0), ("adds", 1)):
            options: dict[str, Any] = {"model": name, "temperature": 0, "max_tokens": 3, "logprobs": 1}
            answer = server.client.completions.create(prompt="hello", echo=True, **options)
            logs = answer.choices[0].logprobs
            wanted = scored([HELLO[:1], [BOS, *HELLO[:1]]], [*HELLO[1:], *greedy([HELLO, [BOS, *HELLO]], 3)])
            assert logs.token_logprobs[0] is None
            assert logs.token_logprobs[1:] == pytest.approx(wanted, abs=1e-3)
            assert len(logs.tokens) == len(wanted) + 1
            assert answer.usage.prompt_tokens == len(HELLO) + added


def harness(ensemble: Ensemble) -> Any:
    pytest.importorskip("lm_eval")
    from unisono.evals.harness import UnisonoLM

    return UnisonoLM(ensemble)


def asked(kind: str, *arguments: Any) -> Any:
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, argument, index) for index, argument in enumerate(arguments)]


@ORDERS
def test_the_harness_scores_whole_texts_behind_the_prefixes(order: tuple[int, int]):
    """In one window, and in two: the second one reads as much of the text as fits."""
    text = "import os\n" * 80
    tokens, longest = ids(text), tiny.CONTEXT
    assert longest < len(tokens) < 2 * longest
    found = harness(both(order)).loglikelihood_rolling(asked("loglikelihood_rolling", ("hello",), (text,)))
    second = scored([tokens[-longest - 1 : longest]] * 2, tokens[longest:])
    assert found[0] == pytest.approx(sum(scored([[BOS]] * 2, HELLO)), abs=CLOSE)
    assert found[1] == pytest.approx(sum(scored([[BOS]] * 2, tokens[:longest])) + sum(second), rel=1e-5)


@ORDERS
def test_the_harness_generates_behind_the_prefixes(order: tuple[int, int]):
    """A context that is too long loses its beginning, and every prefix with it."""
    keywords = {"until": ["never to be seen"], "max_gen_toks": 5}
    long = "import os\n" * 200
    contexts = asked("generate_until", ("hello", keywords), (long, keywords), ("", keywords))
    cut = ids(long)[-(tiny.CONTEXT - 5) :]
    wanted = [greedy(own, 5) for own in ([HELLO, [BOS, *HELLO]], [cut, cut], [[BOS], [BOS]])]
    found = harness(both(order)).generate_until(contexts, disable_tqdm=True)
    assert found == [PLAIN.decode(tokens) for tokens in wanted]


@ORDERS
def test_a_long_prompt_of_a_pair_loses_its_beginning_in_the_harness_alone(order: tuple[int, int]):
    prompt, target = "import os\n" * 200 + "x", ids(" y")
    own = [tokens[-(tiny.CONTEXT + 1 - len(target)) :] for tokens in (ids(prompt), [BOS, *ids(prompt)])]
    (found,) = harness(both(order)).loglikelihood(asked("loglikelihood", (prompt, " y")))
    assert found[0] == pytest.approx(sum(scored(own, target)), abs=1e-3)
    with pytest.raises(RequestError, match="too long"):
        both(order).prompts.prepare(Pair(prompt, " y"))
