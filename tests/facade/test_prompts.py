"""`prepare`: from a prompt of any kind to what each member reads, and who reads the negative prompt."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import torch

from tests import tiny
from tests.facade.one_line import one_line
from unisono import Ensemble, SamplingParams, combine
from unisono.combine import Combination
from unisono.errors import RequestError
from unisono.members.base import Context, Reading
from unisono.members.lineup import Lineup
from unisono.members.table import TableMember
from unisono.sampling.warp import Warp
from unisono.text.encoder import Chat
from unisono.text.prompts import Pair, Prepared, Prompts
from unisono.tokens.vocabulary import Vocabulary

PROMPT, OTHER = "for i in", "import os"
MESSAGES = [{"role": "user", "content": "what is f"}]
OWN = "The quick {prompt}"
SAMPLED = SamplingParams(temperature=0.7, top_k=5, top_p=0.9, min_p=0.1)
TOKENIZER = tiny.tokenizer()
GUIDANCE = combine.guidance(1.5)


def load(*templates: str, **options: Any) -> Prompts:
    """How prompts are prepared for members with these prompts of their own."""
    models = tiny.text_models()
    sources = [
        {"model": models[index % 2], "tokenizer": TOKENIZER, "prompt": each} for index, each in enumerate(templates)
    ]
    return Ensemble.load(sources, **options).prompts


@pytest.fixture(scope="module")
def plain() -> Prompts:
    return load("{prompt}", "{prompt}")


def ids(text: str, **options: Any) -> tuple[int, ...]:
    return tuple(TOKENIZER.encode(text, **options))


def read(prepared: Prepared) -> list[tuple[int, ...]]:
    """What each member reads."""
    assert all(context.size == len(context.tokens) for context in prepared.contexts)
    return [context.tokens for context in prepared.contexts]


def test_a_text_and_its_token_ids_are_one_prompt(plain: Prompts):
    """All members read the same, there is nothing to be scored, and the contexts are equal however it was given."""
    text, given = plain.prepare(PROMPT), plain.prepare(list(ids(PROMPT)))
    assert read(text) == [ids(PROMPT)] * 2
    assert text.units == given.units == ()
    assert text.contexts == given.contexts
    assert text.contexts[0] == text.contexts[1]
    assert text.contexts != plain.prepare(OTHER).contexts
    assert plain.ids(PROMPT) == list(ids(PROMPT))


def test_a_chat_is_read_as_its_template_writes_it():
    """Special tokens are those of the template alone, also where the tokenizer puts one before each text."""
    tokenizer = tiny.tokenizer(start=True)
    prompts = tiny.ensemble(tiny.text_models(), tokenizer).prompts
    text = tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True, tokenize=False)
    wanted = tuple(tokenizer.encode(text, add_special_tokens=False))
    assert wanted != tuple(tokenizer.encode(text))
    assert read(prompts.prepare(Chat(MESSAGES))) == [wanted] * 2
    assert prompts.ids(Chat(MESSAGES)) == list(wanted)


def test_a_member_reads_its_own_prompt():
    """Token ids cannot be put into it, nor can a chat."""
    prompts = load("{prompt}", OWN)
    assert read(prompts.prepare(PROMPT)) == [ids(PROMPT), ids("The quick " + PROMPT)]
    for prompt in (list(ids(PROMPT)), Chat(MESSAGES)):
        assert "need text" in one_line(RequestError, partial(prompts.prepare, prompt))


def test_a_pair_of_texts_is_split_as_one_text(plain: Prompts):
    """Blanks at the end of the prompt count to the continuation."""
    whole, context = ids("def f(x): return x"), ids("def f(x):")
    for pair in (Pair("def f(x):", " return x"), Pair("def f(x): ", "return x")):
        prepared = plain.prepare(pair)
        assert read(prepared) == [context] * 2
        assert prepared.units == whole[len(context) :]


def test_a_pair_of_texts_is_split_behind_each_members_own_prompt():
    prepared = load("{prompt}", OWN).prepare(Pair("for", " i in"))
    assert read(prepared) == [ids("for"), ids("The quick for")]
    assert prepared.units == ids("for i in")[len(ids("for")) :]


def test_an_empty_prompt_of_a_pair_is_the_beginning_of_a_text(plain: Prompts):
    prepared = plain.prepare(Pair("", PROMPT))
    assert read(prepared) == [(TOKENIZER.bos_token_id,)] * 2
    assert prepared.units == ids(PROMPT)


def test_a_pair_of_token_ids_is_read_as_given():
    """Without a tokenizer too."""
    prompts = tiny.ensemble(tiny.models("llama")).prompts
    prepared = prompts.prepare(Pair([5, 6], [7, 8, 9]))
    assert read(prepared) == [(5, 6)] * 2
    assert prepared.units == (7, 8, 9)
    assert "continuation is empty" in one_line(RequestError, partial(prompts.prepare, Pair([5], [])))
    for wrong in (Pair([5], "x"), Pair("x", [5]), Pair("x", "y")):
        assert "two texts" in one_line(RequestError, partial(prompts.prepare, wrong))
    for wrong in (Pair([], [5]), Pair([5], [tiny.VOCABULARY]), Pair([-1], [5])):
        one_line(RequestError, partial(prompts.prepare, wrong))


# --- negative prompts -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reversed(Combination):
    """The first member reads the negative prompt."""

    prompts = ("negative", "prompt")

    @property
    def name(self) -> str:
        return "reversed"

    def scores(self, logits):
        return logits[1]


@pytest.mark.parametrize("negative", [OTHER, list(ids(OTHER)), Chat(MESSAGES)])
def test_the_combination_says_who_reads_the_negative_prompt(plain: Prompts, negative: Any):
    """It may be of any kind."""
    found = tuple(plain.ids(negative))
    assert read(plain.prepare(PROMPT, None, GUIDANCE, negative)) == [ids(PROMPT), found]
    assert read(plain.prepare(PROMPT, None, Reversed(), negative)) == [found, ids(PROMPT)]
    assert read(plain.prepare(Chat(MESSAGES), None, GUIDANCE, negative))[1] == found


def test_the_negative_prompt_may_be_a_parameter(plain: Prompts):
    params = SamplingParams(negative_prompt=OTHER)
    assert read(plain.prepare(PROMPT, params, GUIDANCE)) == [ids(PROMPT), ids(OTHER)]
    assert read(plain.prepare(PROMPT, params, GUIDANCE, "x"))[1] == ids("x")


def test_without_a_negative_prompt_it_is_the_last_token(plain: Prompts):
    """Of a prompt and of a pair, where both members read the same prompt of their own too."""
    for prompts in (plain, load(OWN, OWN)):
        for prompt in (PROMPT, Pair(PROMPT, " x")):
            first, second = read(prompts.prepare(prompt, None, GUIDANCE))
            assert second == first[-1:]
            assert len(first) > 1


def test_a_member_with_another_prompt_of_its_own_reads_that():
    """It is a negative prompt itself; one that is given is put into it."""
    prompts = load("{prompt}", OWN)
    assert read(prompts.prepare(PROMPT, None, GUIDANCE)) == [ids(PROMPT), ids("The quick " + PROMPT)]
    assert read(prompts.prepare(PROMPT, None, GUIDANCE, OTHER)) == [ids(PROMPT), ids("The quick " + OTHER)]


def test_a_drafter_reads_the_prompt():
    prompts = load("{prompt}", "{prompt}", draft={"model": tiny.text_models()[1], "tokenizer": TOKENIZER})
    assert read(prompts.prepare(PROMPT, None, GUIDANCE, OTHER)) == [ids(PROMPT), ids(OTHER), ids(PROMPT)]


@pytest.mark.parametrize(("combination", "name"), [(None, "these members"), (combine.only(0), "only:0")])
def test_a_negative_prompt_that_nobody_reads_is_refused(plain: Prompts, combination: Combination | None, name: str):
    message = one_line(RequestError, lambda: plain.prepare(PROMPT, SamplingParams(negative_prompt=OTHER), combination))
    assert message == f"negative_prompt has no use with {name}; use guidance or context_aware"
    assert message == one_line(RequestError, lambda: plain.prepare(PROMPT, None, combination, OTHER))


@pytest.mark.parametrize("negative", ["", [], [tiny.TEXT_VOCABULARY], 5])
def test_a_wrong_negative_prompt_is_refused(plain: Prompts, negative: Any):
    one_line(RequestError, lambda: plain.prepare(PROMPT, None, GUIDANCE, negative))


# --- scoring a prompt itself ----------------------------------------------------------------------------------------------


def test_a_prompt_itself_is_scored_from_its_second_token_on(plain: Prompts):
    own = plain.itself(plain.prepare(PROMPT, SAMPLED))
    assert own is not None
    assert read(own) == [ids(PROMPT)[:1]] * 2
    assert own.units == ids(PROMPT)[1:]
    assert own.warp == Warp()
    single = plain.itself(plain.prepare([5]))
    assert single is not None
    assert single.units == ()


def test_there_is_no_prompt_itself_where_members_read_different_ones(plain: Prompts):
    assert plain.itself(plain.prepare(PROMPT, None, GUIDANCE)) is None
    own = load("{prompt}", OWN)
    assert own.itself(own.prepare(PROMPT)) is None


# --- room -----------------------------------------------------------------------------------------------------------------


def tables(*lengths: int | None, kind: type[TableMember] = TableMember) -> Prompts:
    """Prompts of members that hold so many units each; the second one reads another prompt where it is negative."""
    laws = torch.full((2, 2), 0.5)
    members = tuple(kind(laws, str(index), context_length=length) for index, length in enumerate(lengths))
    return Prompts([None] * len(members), ["{prompt}"] * len(members), Lineup(members), Vocabulary(2))


def test_room_is_that_of_the_member_with_the_least():
    """By what each reads: a short negative prompt leaves more of a short context."""
    prompts = tables(20, 12)
    assert prompts.room(prompts.prepare([1] * 10).contexts) == 2
    assert prompts.room(prompts.prepare([1] * 10, None, GUIDANCE).contexts) == 10
    assert tables(None, 12).room(prompts.prepare([1] * 11).contexts) == 1
    assert tables(None, None).room(prompts.prepare([1] * 11).contexts) > 10**9


def test_a_prompt_without_room_is_told_with_the_numbers_of_the_member_that_is_too_short():
    prompts = tables(20, 12)
    contexts = prompts.prepare([1] * 12).contexts
    message = one_line(RequestError, lambda: prompts.room(contexts))
    assert message == "the prompt is too long: 12 tokens for a context of 12, which must hold the output too"


def test_the_last_unit_of_a_pair_is_not_read():
    """So a pair may be one longer than the context."""
    prompts = tables(20, 12)
    assert len(prompts.prepare(Pair([1] * 10, [0] * 3)).units) == 3
    message = one_line(RequestError, lambda: prompts.prepare(Pair([1] * 10, [0] * 4)))
    assert message == "prompt and continuation are too long: 14 tokens for a context of 12"


# --- warps ----------------------------------------------------------------------------------------------------------------


class Warping(TableMember):
    """A member that warps by itself, and keeps for its contexts how."""

    warps = True

    def context(self, reading: Reading, warp: Warp) -> Context:
        return Warped(len(reading.tokens), reading.tokens, warp)


@dataclass(frozen=True)
class Warped(Context):
    warp: Warp = field(default_factory=Warp)


def test_the_warp_of_the_parameters_is_left_for_the_core(plain: Prompts):
    """Nothing is warped where there are no parameters, or units to be scored."""
    assert plain.prepare(PROMPT, SAMPLED).warp == Warp(0.7, 5, 0.9, 0.1)
    assert plain.prepare(PROMPT).warp == plain.prepare(Pair(PROMPT, " x"), SAMPLED).warp == Warp()


def test_members_that_warp_by_themselves_leave_only_the_choice_at_temperature_0():
    """Their contexts are told the warp, so those of other parameters are not equal."""
    prompts = tables(None, kind=Warping)
    sampled, greedy = (prompts.prepare([1], each) for each in (SAMPLED, SamplingParams(temperature=0, top_k=5)))
    assert (sampled.warp, greedy.warp) == (Warp(), Warp(temperature=0))
    assert sampled.contexts == (Warped(1, (1,), Warp(0.7, 5, 0.9, 0.1)),)
    assert sampled.contexts != greedy.contexts
    assert prompts.prepare(Pair([1], [0]), SAMPLED).contexts == (Warped(1, (1,), Warp()),)
