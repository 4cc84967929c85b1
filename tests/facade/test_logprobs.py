"""Log-probabilities are those of the combination at temperature 1, untruncated: computed here with plain forwards."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests import tiny
from tests.hf import cached, models
from unisono import Ensemble, SamplingParams
from unisono.errors import RequestError

CLOSE = 1e-4
PROMPT, CONTINUATION = "def f(x):\n    return", " {'naïve': 3.14}"
Laws = list[Tensor]


def mix(laws: Laws) -> Tensor:
    return 0.7 * laws[0] + 0.3 * laws[1]


def geometric(laws: Laws) -> Tensor:
    joint = laws[0] ** 0.5 * laws[1] ** 0.5
    return joint / joint.sum(-1, keepdim=True)


def contrast(laws: Laws) -> Tensor:
    ratio = laws[0] / laws[1] ** 0.5
    return ratio / ratio.sum(-1, keepdim=True)


def moved(laws: Laws) -> Tensor:
    """CoSD's rule, one token of the draft at a time."""
    law = torch.zeros_like(laws[0])
    for k, (q, p) in enumerate(zip(*laws, strict=True)):
        y = int(p.argmax())
        for x in range(len(q)):
            law[k, y if x != y and q[x] < 0.5 and p[y] > 0.5 * q[x] else x] += q[x]
    return law


def gated(laws: Laws) -> Tensor:
    sure = laws[0].amax(-1, keepdim=True) >= 0.3
    return torch.where(sure, laws[0], laws[1])


COMBINATIONS = {
    "cosd": moved,
    "nudge:0.3": gated,
    "weighted:0.7,0.3": mix,
    "weighted:0.7,0.3,order=combine-first": mix,
    "product:0.5,0.5": geometric,
    "contrastive:0.5": contrast,
    "only:1": lambda laws: laws[1],
}


def brute_force(
    ensemble: Ensemble, combination: str, context: list[int], target: list[int]
) -> tuple[list[float], bool]:
    """Log-probability of each target token, and whether all of them are the most probable ones."""
    logits = [tiny.fresh_logits(model, context + target)[len(context) - 1 : -1] for model in models(ensemble)]
    law = COMBINATIONS[combination]([each.double().softmax(-1) for each in logits])
    chosen = law.gather(-1, torch.tensor(target).unsqueeze(-1)).log().flatten()
    return chosen.tolist(), law.argmax(-1).tolist() == target


def encode(text: str, **options: Any) -> list[int]:
    ids: list[int] = tiny.text_ensemble().tokenizer.encode(text, **options)
    return ids


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    return tiny.text_ensemble()


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_logprobs_are_those_of_the_brute_force_law(ensemble: Ensemble, combination: str):
    """One number per token of the continuation; their sum is the total."""
    score = ensemble.logprobs(PROMPT, CONTINUATION, combine=combination)
    context, whole = encode(PROMPT), encode(PROMPT + CONTINUATION)
    wanted, _ = brute_force(ensemble, combination, context, whole[len(context) :])
    assert list(score.token_ids) == whole[len(context) :]
    assert score.logprobs == pytest.approx(wanted, abs=CLOSE)
    assert score.total == pytest.approx(sum(wanted), abs=10 * CLOSE)
    assert not score.is_greedy
    assert cached(ensemble) == [{}, {}]


@pytest.mark.parametrize("combination", COMBINATIONS)
@pytest.mark.parametrize("schedule", ["standard", "speculative:4", "cos:2,3"])
def test_a_result_reports_the_logprob_of_each_token(ensemble: Ensemble, combination: str, schedule: str):
    """At temperature 1 before truncation, whatever the request's own, and whoever proposed the token (R23)."""
    params = SamplingParams(max_tokens=20, temperature=0.8, top_k=50, top_p=0.95, min_p=0.01, seed=3, logprobs=True)
    (result,) = ensemble.generate(PROMPT, params, combine=combination, schedule=schedule)
    wanted, _ = brute_force(ensemble, combination, encode(PROMPT), list(result.token_ids))
    assert result.logprobs == pytest.approx(wanted, abs=CLOSE)
    assert [commit.logprob for commit in result.commits] == result.logprobs


def test_asking_for_logprobs_changes_no_text(ensemble: Ensemble):
    """The text is the same with and without; without, there are none."""
    plain = SamplingParams(max_tokens=24, seed=9)
    asked = SamplingParams(max_tokens=24, seed=9, logprobs=True)
    for schedule in ("standard", "cos:2,3"):
        (first,), (second,) = (ensemble.generate(PROMPT, params, schedule=schedule) for params in (plain, asked))
        assert first.token_ids == second.token_ids
        assert first.logprobs is None
        assert second.logprobs is not None


def test_a_result_and_logprobs_agree(ensemble: Ensemble):
    """What a result reports for its text is what `logprobs` says of that text."""
    continuations = best_continuations(ensemble)
    assert len(continuations) >= 3
    for prompt, text, tokens in continuations:
        params = SamplingParams(max_tokens=len(tokens), temperature=0, logprobs=True)
        (result,) = ensemble.generate(prompt, params, schedule="cos:2,3")
        assert result.token_ids == tokens
        assert result.logprobs == pytest.approx(list(ensemble.logprobs(prompt, text).logprobs), abs=CLOSE)


def test_logprobs_with_an_end_inside_a_block(ensemble: Ensemble):
    """A text cut inside a block has as many log-probabilities as tokens (R8)."""
    (free,) = ensemble.generate(
        PROMPT, SamplingParams(max_tokens=20, temperature=0, logprobs=True), schedule="standard"
    )
    assert free.logprobs is not None
    for count in range(1, 12):
        stop = [free.token_ids[count - 1]]
        params = SamplingParams(max_tokens=20, temperature=0, logprobs=True, stop_token_ids=stop)
        (result,) = ensemble.generate(PROMPT, params, schedule="cos:2,3")
        assert result.logprobs == pytest.approx(free.logprobs[: len(result.token_ids)], abs=CLOSE)


@pytest.mark.parametrize(
    ("prompt", "continuation"),
    [("for i ", "in range"), ("for i  \n", "in"), ("for i", " in"), ("a", "b"), ("x ", " y"), ("f", "or")],
)
def test_joined_and_split_as_lm_evaluation_harness_does(ensemble: Ensemble, prompt: str, continuation: str):
    """Blanks at the prompt's end go to the continuation; then the two are encoded together and split at the prompt."""
    blanks = len(prompt) - len(prompt.rstrip())
    moved = prompt[len(prompt) - blanks :]
    context = prompt[: len(prompt) - blanks]
    ids, whole = encode(context), encode(context + moved + continuation)
    score = ensemble.logprobs(prompt, continuation)
    assert list(score.token_ids) == whole[len(ids) :]
    wanted, _ = brute_force(ensemble, "weighted:0.7,0.3", ids, list(score.token_ids))
    found = ensemble.logprobs(prompt, continuation, combine="weighted:0.7,0.3")
    assert found.logprobs == pytest.approx(wanted, abs=CLOSE)


def test_an_empty_prompt_is_the_beginning_of_text(ensemble: Ensemble):
    """As in lm-evaluation-harness, the continuation alone follows the beginning-of-text token."""
    score = ensemble.logprobs("", "for i", combine="weighted:0.7,0.3")
    target = encode("for i", add_special_tokens=False)
    wanted, _ = brute_force(ensemble, "weighted:0.7,0.3", [0], target)
    assert score.token_ids == tuple(target)
    assert score.logprobs == pytest.approx(wanted, abs=CLOSE)


def test_the_beginning_of_text_belongs_to_the_prompt(ensemble: Ensemble):
    """With a tokenizer that begins each text, the continuation's tokens are those after the prompt's, as ever."""
    starting = tiny.ensemble(tiny.text_models(), tiny.tokenizer(start=True))
    context, whole = encode(PROMPT), encode(PROMPT + CONTINUATION)
    for prompt, ids in ((PROMPT, [0, *context]), ("", [0])):
        target = whole[len(context) :] if prompt else encode(CONTINUATION)
        wanted, _ = brute_force(ensemble, "weighted:0.7,0.3", ids, target)
        score = starting.logprobs(prompt, CONTINUATION, combine="weighted:0.7,0.3")
        assert score.token_ids == tuple(target)
        assert score.logprobs == pytest.approx(wanted, abs=CLOSE)


def test_greedy_is_said_of_all_tokens(ensemble: Ensemble):
    """`is_greedy` holds where each token is the most probable one, and no longer when one is not."""
    for prompt, best, tokens in best_continuations(ensemble):
        score = ensemble.logprobs(prompt, best)
        assert score.token_ids == tokens
        assert score.is_greedy
        assert not ensemble.logprobs(prompt, best + "日本🙂").is_greedy


def best_continuations(ensemble: Ensemble) -> list[tuple[str, str, tuple[int, ...]]]:
    """Some (prompt, greedy continuation, its tokens) that split into the same tokens again when they are encoded."""
    found = []
    for prompt in (
        "for i",
        "The",
        "print",
        "x",
        "f",
        "q",
        "[0]",
        "fox",
        "10",
        "Th",
        "def f",
        "brown",
        "h",
        "12345",
        "!",
    ):
        (result,) = ensemble.generate(prompt, SamplingParams(max_tokens=8, temperature=0))
        for count in range(8, 0, -1):
            tokens = result.token_ids[:count]
            text = ensemble.tokenizer.decode(tokens)
            if encode(prompt + text) == encode(prompt) + list(tokens):
                found.append((prompt, text, tokens))
                break
    return found


def test_an_impossible_token_has_no_probability():
    """A token the combination rules out has log-probability minus infinity, not nan."""
    ensemble = tiny.ensemble(tiny.text_models(), tiny.tokenizer(), combine="contrastive_masked:1,0.5")
    score = ensemble.logprobs(PROMPT, CONTINUATION)
    assert min(score.logprobs) == float("-inf")
    assert not any(value != value for value in score.logprobs)
    assert not score.is_greedy


def test_a_continuation_may_fill_the_context():
    """The last token is scored, not read: prompt and continuation may have one token more than the context."""
    models = [tiny.build("llama", vocab_size=tiny.TEXT_VOCABULARY, max_position_embeddings=8)] * 2
    ensemble = tiny.ensemble([models[0], tiny.blend(models[0], 0.1, 1)], tiny.tokenizer())
    assert len(ensemble.logprobs("xyz", "xyzxyz").token_ids) == 6
    with pytest.raises(RequestError, match="10 tokens for a context of 8"):
        ensemble.logprobs("xyz", "xyzxyzx")


def test_a_prompt_that_is_scored_may_fill_the_context():
    """Also where nothing is generated behind it, as for `echo` of the server: a longer one is refused, not clamped."""
    model = tiny.build("llama", vocab_size=tiny.TEXT_VOCABULARY, max_position_embeddings=8)
    ensemble = tiny.ensemble([model, tiny.blend(model, 0.1, 1)], tiny.tokenizer())
    assert len(ensemble.echo(ensemble.prompts.prepare([5] * 9)).row.task.given) == 8
    with pytest.raises(RequestError, match="too long: 10 tokens for a context of 8"):
        ensemble.echo(ensemble.prompts.prepare([5] * 10))


@pytest.mark.parametrize(("prompt", "continuation"), [("x", ""), (1, "x"), ("x", None), (["x"], "y")])
def test_wrong_texts_are_refused(ensemble: Ensemble, prompt: Any, continuation: Any):
    """Both must be texts, and the continuation at least one token."""
    with pytest.raises(RequestError):
        ensemble.logprobs(prompt, continuation)


def test_without_a_tokenizer_there_is_nothing_to_score():
    """Members that speak token ids cannot score text; the error says so."""
    with pytest.raises(RequestError, match="tokenizer"):
        tiny.ensemble(tiny.models("llama")).logprobs("a", "b")


def templated(template: str) -> Ensemble:
    """The second member reads a prompt of its own."""
    first, second = ({"model": model, "tokenizer": tiny.tokenizer()} for model in tiny.text_models())
    return Ensemble.load([first, {**second, "prompt": template}], combine="weighted:0.7,0.3")


def test_members_with_prompts_of_their_own_are_scored_with_them():
    """Each member scores the continuation behind what it reads as the prompt."""
    ensemble = templated("The quick {prompt}")
    target = encode("for i")[len(encode("for")) :]
    laws = []
    for model, text in zip(models(ensemble), ("for", "The quick for"), strict=True):
        context = encode(text)
        laws.append(tiny.fresh_logits(model, context + target)[len(context) - 1 : -1].softmax(-1))
    wanted = mix(laws).gather(-1, torch.tensor(target).unsqueeze(-1)).log().flatten().tolist()
    assert ensemble.logprobs("for", " i").logprobs == pytest.approx(wanted, abs=CLOSE)


def test_members_that_split_the_border_differently_are_an_error():
    """Where a member's own prompt merges with the continuation, positions do not correspond: an error, not a number."""
    with pytest.raises(RequestError):
        templated("{prompt} ").logprobs("for", "  in")


def test_an_empty_prompt_does_not_drop_a_members_own_prompt():
    """A template is read also where the prompt is empty, or the request is refused; it is never left out silently."""
    try:
        found = templated("The quick {prompt}").logprobs("", "x")
    except RequestError:
        return
    assert found.logprobs != tiny.text_ensemble().logprobs("", "x", combine="weighted:0.7,0.3").logprobs


def test_lists_are_scored_together_as_each_alone(ensemble: Ensemble):
    """Pairs of any lengths, one score each, in their order; an empty list is an empty list."""
    prompts = [PROMPT, "x", "class A:\n" * 20, PROMPT]
    continuations = [CONTINUATION, " = 1", "    pass", " x + 1"]
    together = ensemble.logprobs(prompts, continuations)
    for found, *pair in zip(together, prompts, continuations, strict=True):
        alone = ensemble.logprobs(*pair)
        assert (found.token_ids, found.is_greedy) == (alone.token_ids, alone.is_greedy)
        assert found.logprobs == pytest.approx(alone.logprobs, abs=CLOSE)
    assert ensemble.logprobs([], []) == []
    with pytest.raises(RequestError, match="two lists of the same length"):
        ensemble.logprobs(prompts, continuations[:2])
    with pytest.raises(RequestError, match="two lists of the same length"):
        ensemble.logprobs(prompts, CONTINUATION)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1, 2, 7])
def test_long_targets_are_scored_in_pieces(ensemble: Ensemble, size: int, monkeypatch: pytest.MonkeyPatch):
    """A piece of any size gives the same numbers; none is drawn, none is skipped."""
    wanted = ensemble.logprobs(PROMPT, CONTINUATION * 2)
    monkeypatch.setattr("unisono.decoding.row.CHUNK", size)
    found = ensemble.logprobs(PROMPT, CONTINUATION * 2)
    assert found.token_ids == wanted.token_ids
    assert found.logprobs == pytest.approx(wanted.logprobs, abs=CLOSE)


def test_scoring_runs_within_the_budget():
    """R32: tokens to be scored are a row like any other: they wait for room, and are refused if they never fit."""
    small = tiny.text_ensemble()
    room = sum(member.memory(1, 40) for member in small.members)
    tight = Ensemble(small.lineup, small.prompts, memory=room)
    prompts, continuations = [PROMPT] * 5, [" 1", " 2", " 3", " 4", " x"]
    assert len(tight.logprobs(prompts, continuations)) == 5
    params = SamplingParams(max_tokens=4, seed=1, prompt_logprobs=True, n=3)
    results = tight.generate([PROMPT, "y"], params)
    assert len({result.prompt_logprobs for result in results}) == 2
    with pytest.raises(RequestError, match="does not fit"):
        tight.logprobs(PROMPT, CONTINUATION * 20)
