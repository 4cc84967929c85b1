"""Members share a vocabulary by content: equal ids mean equal tokens, or the members cannot be combined."""

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from tests import tiny
from tests.hf import hf_members
from unisono import Ensemble, SamplingParams
from unisono.errors import MemberError
from unisono.members.base import Context, Work
from unisono.members.hf.member import HFMember

ROWS = 320  # of logits: the tokenizer's 300 and room for added tokens
EXTRA = "<tool>"
COMBINATIONS = [
    "weighted:0.5,0.5",
    "weighted:0.9,0.1,order=combine-first",
    "weighted:1,0",
    "product:0.5,0.5",
    "product:1,0",
    "contrastive:0.5",
    "contrastive:-0.5",
    "contrastive_masked:0.1,0.5",
    "only:0",
    "only:1",
]
TEXT = "def f(x):\n    return "


def load(first: Any, second: Any, rows: tuple[int, int] = (ROWS, ROWS), **options: Any) -> Ensemble:
    """Two models with these tokenizers and that many rows of logits."""
    members = [tiny.models("llama", vocab_size=count)[index] for index, count in enumerate(rows)]
    sources = [
        {"model": copy.deepcopy(model), "tokenizer": each} for model, each in zip(members, (first, second), strict=True)
    ]
    return Ensemble.load(sources, **options)


def with_added(*tokens: str, special: bool = False) -> Any:
    """The tiny tokenizer, which has learned these tokens besides."""
    tokenizer = tiny.tokenizer()
    tokenizer.add_tokens(list(tokens), special_tokens=special)
    return tokenizer


def generate(ensemble: Ensemble, temperature: float, seed: int = 1) -> tuple[int, ...]:
    params = SamplingParams(max_tokens=40, temperature=temperature, seed=seed, ignore_eos=True)
    return ensemble.generate([TEXT], params, schedule="parallel")[0].token_ids


def test_equal_vocabularies_are_silent():
    """Two members with one vocabulary combine without a warning."""
    ensemble = load(tiny.tokenizer(), tiny.tokenizer(), rows=(300, 300))
    assert {member.vocabulary for member in ensemble.members} == {300}


@pytest.mark.parametrize("rows", [(300, 320), (320, 300), (512, 304)])
def test_sizes_may_differ_by_padding(rows: tuple[int, int]):
    """Rows of padding are no difference: no warning, one common size."""
    ensemble = load(tiny.tokenizer(), tiny.tokenizer(), rows)
    assert {member.vocabulary for member in ensemble.members} == {300}
    assert max(generate(ensemble, 3.0)) < 300


@pytest.mark.parametrize("swapped", [False, True])
def test_tokens_that_only_some_know_are_named_in_one_warning(swapped: bool):
    """Whichever member knows more, there is one warning, and it names all such tokens."""
    pair = [with_added(EXTRA, "<think>"), tiny.tokenizer()]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load(*(reversed(pair) if swapped else pair))
    (warning,) = caught
    assert EXTRA in str(warning.message)
    assert "<think>" in str(warning.message)
    assert "\n" not in str(warning.message)
    assert warning.filename.endswith(__file__.rsplit("/", 1)[-1])


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_tokens_that_only_some_know_get_no_mass(combination: str):
    """Under every combination the law is zero for them, though each member wants the one it knows most of all.

    Both members know `<both>` (302), only the first knows `<one>` (300), only the second `<two>` (301).
    """
    first, second = (with_added("<one>", "<two>", "<both>") for _ in range(2))
    forget(first, "<two>")
    forget(second, "<one>")
    with pytest.warns(UserWarning, match="<one>, <two>"):
        ensemble = load(first, second, combine=combination)
    prompt = ensemble.tokenizer.encode(TEXT)
    for member, own in zip(hf_members(ensemble), (300, 301), strict=True):
        make_favourite(member.model, own, prompt)
    method = ensemble.method()
    logits = [scores(member, prompt) for member in hf_members(ensemble)]
    for temperature in (0.0, 0.5, 1.0, 5.0):
        law = tiny.law(method.combination, logits, temperature)
        assert law.shape[-1] == 303
        assert torch.equal(law[..., 300:302], torch.zeros_like(law[..., 300:302]))
        torch.testing.assert_close(law.sum(-1), torch.ones(len(prompt)))
        assert not {300, 301} & set(generate(ensemble, temperature))
    assert all(bool(each[..., 302].isfinite().all()) for each in logits)


def make_favourite(model: Any, token: int, prompt: list[int]) -> None:
    """Give a token the largest logit after the prompt, and large ones elsewhere."""
    with torch.no_grad():
        hidden = model.model(torch.tensor([prompt]), use_cache=False).last_hidden_state[0, -1]
        model.lm_head.weight[token] = hidden
    assert int(tiny.fresh_logits(model, prompt)[-1].argmax()) == token


def scores(member: HFMember, prompt: list[int]) -> Tensor:
    slot = member.open(Context(0))
    logits = member.score([Work(slot, tokens=prompt, keep=len(prompt))])[0].logits
    member.close(slot)
    return logits


def forget(tokenizer: Any, token: str) -> None:
    """Make a tokenizer forget an added token: its id stays unused."""
    original, added = tokenizer.get_vocab, tokenizer.get_added_vocab
    tokenizer.get_vocab = lambda: {key: value for key, value in original().items() if key != token}
    tokenizer.get_added_vocab = lambda: {key: value for key, value in added().items() if key != token}


def test_different_tokens_are_an_error_that_names_the_first():
    """Where one id is two tokens, the error says which id and which tokens, and which members."""
    first = tiny.tokenizer()
    second = tiny.tokenizer(corpus=("lorem ipsum dolor sit amet", "consectetur adipiscing elit"))
    mine, theirs = (dict(map(reversed, each.get_vocab().items())) for each in (first, second))
    index = next(k for k in range(300) if mine.get(k) != theirs.get(k))
    with pytest.raises(MemberError, match=rf"at id {index}:") as caught:
        load(first, second)
    message = str(caught.value)
    assert repr(mine[index]) in message
    assert repr(theirs.get(index)) in message
    assert "LlamaForCausalLM#1" in message
    assert "LlamaForCausalLM#2" in message
    assert "\n" not in message


def test_an_added_token_in_place_of_another_is_an_error():
    """Added tokens of two members at one id must be one token."""
    with pytest.raises(MemberError, match=r"at id 300: '<tool>' against '<think>'"):
        load(with_added(EXTRA), with_added("<think>"))


def test_a_third_member_is_checked_too():
    """All members are compared, not only the first two."""
    other = tiny.tokenizer(corpus=("lorem ipsum dolor sit amet",), size=270)
    models = tiny.models("llama", 3, vocab_size=ROWS)
    tokenizers = (tiny.tokenizer(), tiny.tokenizer(), other)
    sources = [{"model": model, "tokenizer": each} for model, each in zip(models, tokenizers, strict=True)]
    with pytest.raises(MemberError, match="different vocabularies"):
        Ensemble.load(sources)


def test_one_id_for_two_added_tokens_of_later_members_gets_no_mass():
    """Members 1 and 2 give one id to different added tokens; member 0 knows neither, so nobody may write it."""
    models = tiny.models("llama", 3, vocab_size=ROWS)
    tokenizers = (tiny.tokenizer(), with_added(EXTRA), with_added("<think>"))
    sources = [{"model": model, "tokenizer": each} for model, each in zip(models, tokenizers, strict=True)]
    with pytest.warns(UserWarning, match="get no mass"):
        ensemble = Ensemble.load(sources)
    assert {member.vocabulary for member in ensemble.members} == {300}


@pytest.mark.parametrize("pairs", [("et+u", "u+rn"), ("z+x", "x+y"), ("W+X", "X+Y")])
def test_the_same_tokens_with_other_merges_are_an_error(pairs: tuple[str, str]):
    """Tokens that are equal but split text differently would let a member read what it never saw in training."""
    first, second = tiny.with_merges(*pairs), tiny.with_merges(*reversed(pairs))
    word = pairs[0].split("+")[0] + pairs[1].replace("+", "")
    assert first.get_vocab() == second.get_vocab()
    assert first.encode(word) != second.encode(word)
    with pytest.raises(MemberError, match="split text differently") as caught:
        load(first, second)
    assert "\n" not in str(caught.value)


def test_without_tokenizers_sizes_must_be_equal():
    """Token ids alone do not say which rows are padding, so unequal sizes are an error with the numbers."""
    models = [tiny.models("llama", vocab_size=rows)[0] for rows in (300, 320)]
    with pytest.raises(MemberError, match=r"LlamaForCausalLM#1 has 300.*LlamaForCausalLM#2 has 320"):
        tiny.ensemble(models)


def test_one_tokenizer_missing_is_refused():
    """A tokenizer for one member only cannot be compared with anything."""
    models = [tiny.models("llama", vocab_size=rows)[0] for rows in (300, 320)]
    with pytest.raises(MemberError, match="has no tokenizer"):
        Ensemble.load([{"model": models[0], "tokenizer": tiny.tokenizer()}, models[1]])


def test_ids_behind_the_logits_are_no_tokens():
    """A tokenizer may know ids that no member has a row for (added tokens never trained): they cannot be produced."""
    ensemble = load(with_added(EXTRA), with_added(EXTRA), rows=(300, 300))
    assert {member.vocabulary for member in ensemble.members} == {300}


def test_unused_ids_between_tokens_get_no_mass():
    """An id that no member's tokenizer knows, below the largest one that all know, is padding too: silent, no mass."""
    tokenizers = [with_added("<gap>", "<last>") for _ in range(2)]
    for tokenizer in tokenizers:
        forget(tokenizer, "<gap>")
    ensemble = load(*tokenizers)
    for member in hf_members(ensemble):
        found = scores(member, [5, 6])
        assert found.shape[-1] == 302
        assert bool(found[..., 300].isneginf().all())
        assert bool(found[..., 301].isfinite().all())
