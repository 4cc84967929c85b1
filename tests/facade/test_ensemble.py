"""The facade: generate, stream, chat, logprobs, and what a result says of itself."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests import tiny
from tests.hf import cached
from unisono import Ensemble, SamplingParams, combine
from unisono.errors import ConfigurationError, RequestError
from unisono.sampling.warp import Warp
from unisono.types import Result

PROMPTS = ["for i in", "def f(x):\n    return", "h", "日本"]
SAMPLED = SamplingParams(max_tokens=24, seed=11)
SPECULATING = "cos:2,3"


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    return tiny.ensemble(tiny.text_models(), tiny.tokenizer(), schedule=SPECULATING)


def assert_no_slots(ensemble: Ensemble) -> None:
    """No member holds a cache any more."""
    assert cached(ensemble) == [{}] * len(ensemble.members)


def ids(results: list[Result]) -> list[tuple[int, ...]]:
    return [result.token_ids for result in results]


# --- generate, stream, chat -----------------------------------------------------------------------------------------------


def test_generate_gives_one_result_per_prompt_in_order(ensemble: Ensemble):
    """Each prompt's result is the one it has alone; a single prompt gives a list of one; no slot stays taken."""
    results = ensemble.generate(PROMPTS, SAMPLED)
    assert ids(results) == [ensemble.generate(prompt, SAMPLED)[0].token_ids for prompt in PROMPTS]
    assert len(set(ids(results))) == len(PROMPTS)
    assert_no_slots(ensemble)


def test_no_prompts_give_no_results(ensemble: Ensemble):
    """An empty list of prompts is not an empty prompt."""
    assert ensemble.generate([], SAMPLED) == []


def test_parameters_may_differ_by_prompt(ensemble: Ensemble):
    """One SamplingParams per prompt is used for that prompt; another number of them is an error."""
    each = [SamplingParams(max_tokens=count, temperature=0) for count in (3, 5)]
    results = ensemble.generate(PROMPTS[:2], each)
    assert [len(result.token_ids) for result in results] == [3, 5]
    with pytest.raises(RequestError, match="2 for 3"):
        ensemble.generate(PROMPTS[:3], each)


def test_a_text_and_its_token_ids_are_one_prompt(ensemble: Ensemble):
    """Prompts may be token ids, alone or in a list."""
    tokens = ensemble.tokenizer.encode(PROMPTS[0])
    (text,) = ensemble.generate(PROMPTS[0], SAMPLED)
    assert ids(ensemble.generate(tokens, SAMPLED)) == ids(ensemble.generate([tokens], SAMPLED)) == [text.token_ids]


@pytest.mark.parametrize("schedule", ["standard", "speculative:4", SPECULATING])
def test_a_stream_joins_to_the_text(ensemble: Ensemble, schedule: str):
    """A piece per token in order, then one with the result; pieces join to generate's text (R30)."""
    for prompt in PROMPTS:
        (result,) = ensemble.generate([prompt], SAMPLED, schedule=schedule)
        *pieces, last = ensemble.stream(prompt, SAMPLED, schedule=schedule)
        assert "".join(piece.text for piece in pieces) + last.text == result.text
        assert tuple(piece.commit.token for piece in pieces if piece.commit) == result.token_ids
        assert all(piece.finish_reason is None and piece.result is None for piece in pieces)
        assert last.commit is None
        assert last.result is not None
        assert (last.finish_reason, last.result.commits) == (result.finish_reason, result.commits)


def test_text_held_back_comes_with_the_last_piece(ensemble: Ensemble):
    """What might have become a stop string, or is half a character, is in the stream once the text is over."""
    for prompt in PROMPTS:
        (free,) = ensemble.generate([prompt], SAMPLED)
        params = SamplingParams(max_tokens=24, seed=11, stop=free.text[-2:] + "\x00never")
        *pieces, last = ensemble.stream(prompt, params)
        assert last.text.endswith(free.text[-2:])
        assert "".join(piece.text for piece in pieces) + last.text == free.text


def test_chat_is_the_template_and_then_generate(ensemble: Ensemble):
    """A conversation is decoded as its rendered text; special tokens of the template are tokens, and not doubled."""
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "naïve?"}]
    answer = ensemble.chat(messages, SAMPLED)
    rendered = "<s>system: Be brief.\n<s>user: naïve?\n<s>assistant: "
    tokens = ensemble.tokenizer.encode(rendered, add_special_tokens=False)
    assert tokens.count(0) == 3
    assert [answer.token_ids] == ids(ensemble.generate([tokens], SAMPLED))


def test_a_tokenizer_that_begins_each_text_does_so_once(ensemble: Ensemble):
    """A prompt begins with the beginning-of-text token; a chat template writes its own, and no second one is added."""
    starting = tiny.ensemble(tiny.text_models(), tiny.tokenizer(start=True), schedule=SPECULATING)
    tokens = ensemble.tokenizer.encode(PROMPTS[0])
    assert ids(starting.generate(PROMPTS[0], SAMPLED)) == ids(ensemble.generate([[0, *tokens]], SAMPLED))
    messages = [{"role": "user", "content": "x"}]
    assert starting.chat(messages, SAMPLED).token_ids == ensemble.chat(messages, SAMPLED).token_ids


def test_overrides_hold_for_one_call(ensemble: Ensemble):
    """Combination and schedule given to a call are used and named by its result; the next call has the defaults."""
    params = SamplingParams(max_tokens=16, temperature=0)
    (before,) = ensemble.generate(PROMPTS[0], params)
    (other,) = ensemble.generate(PROMPTS[0], params, combine="contrastive:0.5", schedule="speculative:2")
    alone = tiny.ensemble(tiny.text_models(), tiny.tokenizer(), combine=combine.contrastive(0.5), schedule="standard")
    assert ids([other]) == ids(alone.generate(PROMPTS[0], params))
    assert (other.combination, other.schedule, other.verification) == ("contrastive:0.5", "speculative:2", "token")
    (after,) = ensemble.generate(PROMPTS[0], params)
    assert after.token_ids == before.token_ids != other.token_ids
    assert (after.combination, after.schedule) == ("weighted:0.5,0.5", SPECULATING)


def test_an_unknown_override_is_an_error(ensemble: Ensemble):
    """A misspelt keyword is not ignored."""
    with pytest.raises((TypeError, ConfigurationError)):
        ensemble.generate(PROMPTS[0], SAMPLED, schedul="standard")  # type: ignore[call-arg]


def test_members_may_have_prompts_of_their_own():
    """A member with a template reads it around the prompt; text, and each position, stay those of plain forwards."""
    models, tokenizer = tiny.text_models(), tiny.tokenizer()
    members = [{"model": model, "tokenizer": tokenizer} for model in models]
    members[1]["prompt"] = "The quick {prompt} fox:"
    ensemble = Ensemble.load(members)
    params = SamplingParams(max_tokens=16, temperature=0)
    texts = [tokenizer.encode("for i"), tokenizer.encode("The quick for i fox:")]
    wanted: list[int] = []
    for _ in range(16):
        laws = [
            tiny.fresh_logits(model, text + wanted)[-1].softmax(-1) for model, text in zip(models, texts, strict=True)
        ]
        wanted.append(int((laws[0] + laws[1]).argmax()))
    for schedule in ("standard", *tiny.SPECULATIVE):
        assert ids(ensemble.generate("for i", params, schedule=schedule)) == [tuple(wanted)]
    with pytest.raises(RequestError, match="need text"):
        ensemble.generate([texts[0]], params)


def test_a_result_says_how_it_came_about(ensemble: Ensemble):
    """Stats count tokens, rounds, forwards and time; the result names what was used."""
    (result,) = ensemble.generate(PROMPTS[0], SAMPLED)
    stats = result.stats
    assert [member.name for member in stats.members] == [member.name for member in ensemble.members]
    assert stats.tokens == 24
    assert stats.rounds > 0
    assert stats.tokens_per_round == pytest.approx(stats.tokens / stats.rounds)
    assert stats.acceptance == pytest.approx(stats.accepted / stats.verified)
    assert 0 < sum(member.seconds for member in stats.members) <= stats.seconds
    assert stats.tokens_per_second == pytest.approx(24 / stats.seconds)
    assert all(1 <= member.forwards < 24 for member in stats.members)
    (standard,) = ensemble.generate(PROMPTS[0], SAMPLED, schedule="standard")
    assert [member.forwards for member in standard.stats.members] == [24, 24]
    assert standard.stats.acceptance is None


def test_seeds_are_reported_and_none_is_fresh(ensemble: Ensemble):
    """Without a seed two runs differ, and running again with the reported seed repeats the text."""
    free = SamplingParams(max_tokens=24)
    first, second = (ensemble.generate(PROMPTS[0], free)[0] for _ in range(2))
    assert first.seed != second.seed
    assert first.token_ids != second.token_ids
    (again,) = ensemble.generate(PROMPTS[0], SamplingParams(max_tokens=24, seed=first.seed))
    assert (again.token_ids, again.text, again.seed) == (first.token_ids, first.text, first.seed)


def test_global_generators_are_neither_used_nor_changed(ensemble: Ensemble):
    """Seeding torch, numpy or random changes nothing, and decoding draws nothing from them (R19)."""
    texts = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - the very generator that must not be used
        states = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index,union-attr]  # noqa: NPY002
        texts.append(ids(ensemble.generate(PROMPTS, SAMPLED)))
        assert torch.equal(torch.get_rng_state(), states[0])
        assert random.getstate() == states[1]
        assert np.random.get_state()[1].tolist() == states[2]  # type: ignore[index,union-attr]  # noqa: NPY002
    assert texts[0] == texts[1]


# --- slots ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [0, 1, 5])
def test_closing_a_stream_frees_its_slots(ensemble: Ensemble, pieces: int):
    """A stream that is closed early, or was never started, leaves nothing behind in any member."""
    stream: Any = ensemble.stream(PROMPTS[0], SAMPLED)
    for _ in range(pieces):
        next(stream)
    stream.close()
    assert_no_slots(ensemble)


def test_a_stream_left_in_the_middle_of_a_loop_frees_its_slots(ensemble: Ensemble):
    """`break` in a for loop drops the iterator, and with it the caches; a finished stream has none either."""
    for piece in ensemble.stream(PROMPTS[0], SAMPLED):
        assert piece.commit
        break
    assert_no_slots(ensemble)
    list(ensemble.stream(PROMPTS[0], SAMPLED))
    assert_no_slots(ensemble)


def broken_law(logits: list[Tensor], warp: Warp) -> Tensor:
    raise ZeroDivisionError("my own mistake")


def no_law(logits: list[Tensor], warp: Warp) -> Tensor:
    return logits[0]


@pytest.mark.parametrize(("law", "error"), [(broken_law, ZeroDivisionError), (no_law, ConfigurationError)])
@pytest.mark.parametrize("schedule", ["standard", "parallel", SPECULATING])
def test_an_error_in_a_users_combination_frees_the_slots(ensemble: Ensemble, law: Any, error: Any, schedule: str):
    """The error reaches the caller as it is, and the members are as before."""
    with pytest.raises(error):
        ensemble.generate(PROMPTS[0], SAMPLED, combine=law, schedule=schedule)
    assert_no_slots(ensemble)


@pytest.mark.parametrize("schedule", ["standard", "parallel", SPECULATING])
def test_an_error_in_a_member_frees_the_slots(schedule: str):
    """A forward that fails (out of memory, say) in one member frees the slots of all, and later requests work."""
    models = [tiny.blend(model, 0, seed=0) for model in tiny.text_models()]
    ensemble = tiny.ensemble(models, tiny.tokenizer(), schedule=schedule)
    (wanted,) = ensemble.generate(PROMPTS[0], SAMPLED)
    handle = models[1].register_forward_pre_hook(fail_at_call(5))
    with pytest.raises(MemoryError):
        ensemble.generate(PROMPTS, SAMPLED)
    assert_no_slots(ensemble)
    handle.remove()
    assert ids(ensemble.generate(PROMPTS[0], SAMPLED)) == [wanted.token_ids]


def fail_at_call(count: int) -> Any:
    calls = iter(range(count))

    def hook(*_: object) -> None:
        if next(calls, None) is None:
            raise MemoryError("no room")

    return hook


def test_a_users_law_gets_what_it_was_promised(ensemble: Ensemble):
    """A function sees one tensor of logits per member and a warp; its law is followed, whatever the schedule."""
    shapes: set[int] = set()

    def sharper(logits: list[Tensor], warp: Warp) -> Tensor:
        shapes.update(each.shape[-1] for each in logits)
        assert len(logits) == 2
        return warp(logits[0] * 2 - logits[1])

    params = SamplingParams(max_tokens=32, temperature=0)
    texts = {
        ensemble.generate(PROMPTS[0], params, combine=sharper, schedule=s)[0].token_ids for s in ("standard", "cos:2,2")
    }
    assert len(texts) == 1
    assert shapes == {tiny.TEXT_VOCABULARY}
    (wanted,) = ensemble.generate(PROMPTS[0], params, combine=combine.contrastive(0.5))
    assert texts == {wanted.token_ids}


# --- the bundled models -------------------------------------------------------------------------------------------------


def test_the_zoo_decodes_by_name():
    """The example of the design: bundled models by name, streamed, with a seed."""
    ensemble = Ensemble.load(["zoo:code-m", "zoo:code-s"], combine=combine.weighted([0.7, 0.3]), schedule="auto")
    params = SamplingParams(max_tokens=16, temperature=1.0, seed=7)
    *pieces, last = ensemble.stream("def read_lines(path):", params)
    assert last.result is not None
    assert "".join(piece.text for piece in pieces) + last.text == last.result.text != ""
    names = [member.name for member in last.result.stats.members]
    assert [name.removeprefix("zoo:") for name in names] == ["code-m", "code-s"]
    (same,) = ensemble.generate("def read_lines(path):", params)
    assert same.text == last.result.text
