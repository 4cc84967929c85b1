"""Laws that read more than scores, through the public surface: texts, samples, log-probabilities and wrong use."""

import functools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests import tiny
from tests.core.helpers import HistoryMember
from tests.toys.bayes import Bayes, BayesOfAll
from tests.toys.drawn_by_text import DrawnByFirst, DrawnByText
from tests.toys.feature_gate import FeatureGate, FeatureMember
from tests.toys.last_two import LastTwo
from unisono import ConfigurationError, Ensemble, SamplingParams
from unisono.combine import Combination, Positions
from unisono.members.lineup import Lineup
from unisono.members.source import PLAIN
from unisono.sampling.warp import AnyWarp
from unisono.text.prompts import Prompts
from unisono.tokens.vocabulary import Vocabulary

LAWS = pytest.mark.parametrize(
    "law", [LastTwo(), Bayes(), BayesOfAll(), FeatureGate(0), FeatureGate(1), DrawnByText(), DrawnByFirst()], ids=str
)
PARAMS = SamplingParams(max_tokens=12, seed=3)


@functools.cache
def loaded() -> Ensemble:
    return Ensemble.load(list(tiny.models("llama")))


def tables(*members: HistoryMember) -> Ensemble:
    """An ensemble of table members, by default of two that have features."""
    lineup = Lineup(members or (FeatureMember.random(5, 1), FeatureMember.random(5, 2, parameters=2)))
    count = len(lineup.members)
    return Ensemble(lineup, Prompts([None] * count, [PLAIN] * count, lineup, Vocabulary(5, ())))


@LAWS
@pytest.mark.parametrize("build", [loaded, tables])
def test_a_seed_has_one_text_under_all_schedules(law: Combination, build: Callable[[], Ensemble]):
    """Of the verification `coupled`; two samples of a prompt and another prompt, beside each other and alone."""
    ensemble, params = build(), SamplingParams(max_tokens=12, seed=3, n=2)
    prompts = [[1, 2, 3], [4, 1]]
    texts = {}
    for schedule in ("standard", "parallel", "speculative:2", "cos:2,1", "relay:2", "risky:1", "lookup:1", "auto"):
        results = ensemble.generate(prompts, params, combine=law, schedule=schedule, verification="coupled")
        texts[schedule] = [result.token_ids for result in results]
    assert all(len(text) == 12 for text in texts["standard"])
    assert all(each == texts["standard"] for each in texts.values()), texts
    alone = ensemble.generate([prompts[1]], params, combine=law, schedule="cos:2,1", verification="coupled")
    assert [result.token_ids for result in alone] == texts["standard"][2:]


@LAWS
def test_temperature_zero_has_one_text(law: Combination):
    params = SamplingParams(max_tokens=12, temperature=0)
    texts = [
        loaded().generate([[1, 2, 3]], params, combine=law, schedule=schedule)[0].token_ids
        for schedule in ("standard", "cos:2,1", "speculative:3")
    ]
    assert texts[0] == texts[1] == texts[2]


def test_log_probabilities_of_bayes_are_those_of_the_mixture_of_texts():
    """`log sum_i w_i P_i(text)`, to rounding in float64."""
    ensemble, text = tables(), [3, 0, 4, 1, 1, 2]
    members = [member for member in ensemble.members if isinstance(member, FeatureMember)]
    score = ensemble.logprobs([1, 2], text, combine=Bayes())
    each = [
        math.prod(float(member.law([1, 2, *text[:end]])[token]) for end, token in enumerate(text)) for member in members
    ]
    wanted = math.log(0.6 * each[0] + 0.4 * each[1])
    assert math.isclose(sum(score.logprobs), wanted, rel_tol=0, abs_tol=1e-12)


def test_log_probabilities_of_bayes_over_models():
    models, text = tiny.models("llama"), [30, 7, 44]
    score = loaded().logprobs([1, 2], text, combine=Bayes())
    each = []
    for model in models:
        logs = tiny.fresh_logits(model, [1, 2, *text]).double().log_softmax(-1)
        each.append(math.exp(sum(float(logs[1 + place, token]) for place, token in enumerate(text))))
    assert math.isclose(sum(score.logprobs), math.log(0.6 * each[0] + 0.4 * each[1]), abs_tol=1e-4)


def test_prompts_may_count_too():
    """`sum_i w_i P_i(prompt, text) / sum_i w_i P_i(prompt)`, each behind the first token of the prompt."""
    ensemble, prompt, text = tables(), [1, 2, 0, 3], [3, 0, 4]
    score = ensemble.logprobs(prompt, text, combine=BayesOfAll())
    both, alone = 0.0, 0.0
    for weight, member in zip((0.6, 0.4), ensemble.members, strict=True):
        assert isinstance(member, FeatureMember)
        tokens = [*prompt, *text]
        each = [float(member.law(tokens[:end])[tokens[end]]) for end in range(1, len(tokens))]
        both += weight * math.prod(each)
        alone += weight * math.prod(each[: len(prompt) - 1])
    assert math.isclose(sum(score.logprobs), math.log(both / alone), abs_tol=1e-12)


def test_reported_log_probabilities_of_bayes_are_those_of_its_text():
    """With each token of a generated text, under a schedule that proposes."""
    ensemble = tables()
    params = SamplingParams(max_tokens=8, seed=1, logprobs=True)
    (result,) = ensemble.generate([[1, 2]], params, combine=Bayes(), schedule="cos:2,1")
    score = ensemble.logprobs([1, 2], result.token_ids, combine=Bayes())
    assert result.logprobs == pytest.approx(list(score.logprobs), abs=1e-12)


class Wrong(Combination):
    """A law that one function makes, and the odds that another one makes."""

    name = "wrong"
    drawn: tuple[int, ...] | None = None

    def __init__(
        self,
        law: Callable[[Positions], Any] | None = None,
        odds: Callable[[Positions], Any] | None = None,
        reads: tuple[str, ...] = (),
        drawn_by: tuple[int, ...] | None = None,
    ) -> None:
        self._law, self._odds = law, odds
        self.reads, self.drawn_by = frozenset(reads), drawn_by  # type: ignore[misc]

    def law(self, positions: Positions, warp: AnyWarp) -> Any:
        return super().law(positions, warp) if self._law is None else self._law(positions)

    def odds(self, positions: Positions) -> Any:
        return super().odds(positions) if self._odds is None else self._odds(positions)


def of(positions: Positions) -> Tensor:
    """The first member's law."""
    return positions.scores[0].law


def spoilt(positions: Positions) -> Tensor:
    law = of(positions).clone()
    law[-1, 0] = torch.nan
    return law


LATE: dict[str, tuple[Wrong, str]] = {
    **{
        f"reads {word}": (
            Wrong(lambda positions, word=word: getattr(positions, word) and of(positions)),  # type: ignore[misc]
            f'must declare that it reads {word}: reads = {{"{word}"}}',
        )
        for word in ("tokens", "loglikelihood", "prompt_loglikelihood", "features")
    },
    "reads prompt": (Wrong(lambda positions: positions.prompt and of(positions)), "must declare that it reads tokens"),
    "shape": (
        Wrong(lambda positions: of(positions)[:, :-1]),
        r"wrong must return a law of shape \(\d, 5\), not: \(\d, 4\)",
    ),
    "rows": (Wrong(lambda positions: of(positions)[0]), r"wrong must return a law of shape"),
    "no tensor": (Wrong(lambda positions: [1.0]), "wrong must return a law of shape .* not: list"),
    "nan": (Wrong(spoilt), "wrong must return probabilities that are 0 or more and sum to 1"),
    "sum": (Wrong(lambda positions: of(positions) / 2), "wrong must return probabilities that are 0 or more and sum"),
    "negative": (Wrong(lambda positions: 2 * of(positions) - 1), "wrong must return probabilities that are 0 or more"),
    "neither": (Wrong(), "combination wrong must define scores or law"),
    "no odds": (Wrong(of, drawn_by=(0,)), "combination wrong must define odds"),
}
ODDS: dict[str, tuple[Callable[[Positions], Any], str]] = {
    "shape": (lambda positions: torch.ones(1, 3), r"wrong must return odds of shape \(1, 2\), not: \(1, 3\)"),
    "no tensor": (lambda positions: (0.5, 0.5), r"wrong must return odds of shape \(1, 2\), not: tuple"),
    "nan": (lambda positions: torch.tensor([[torch.nan, 1]]), "wrong must return odds that are finite, 0 or more"),
    "negative": (lambda positions: torch.tensor([[-0.5, 1.5]]), "wrong must return odds that are finite, 0 or more"),
    "zero": (lambda positions: torch.zeros(1, 2), "wrong must return odds that are finite, 0 or more and not all 0"),
    "undeclared": (lambda positions: positions.tokens, "must declare that it reads tokens"),
}
for kind, (function, message) in ODDS.items():
    LATE[f"odds, {kind}"] = Wrong(odds=function, drawn_by=(0,)), message
    if kind != "undeclared":
        LATE[f"odds of the text, {kind}"] = Wrong(odds=function, reads=("tokens",), drawn_by=()), message


@pytest.mark.parametrize("schedule", ["standard", "cos:2,1", "auto"])
@pytest.mark.parametrize("kind", LATE)
def test_wrong_use_ends_its_row_alone_in_one_line(kind: str, schedule: str):
    law, message = LATE[kind]
    ensemble = tables()
    (usual,) = ensemble.generate([[1, 2]], PARAMS, schedule="cos:2,1")
    (bad,) = ensemble.start([1, 2], PARAMS, combine=law, schedule=schedule)
    (good,) = ensemble.start([1, 2], PARAMS, schedule="cos:2,1")
    ensemble.engine.submit(bad.row, good.row)
    ensemble.engine.run(good.row)
    assert tuple(good.row.frontier.committed) == tuple(usual.token_ids)
    with pytest.raises(ConfigurationError, match=message) as caught:
        ensemble.engine.run(bad.row)
    assert "\n" not in str(caught.value)
    assert "wrong" in str(caught.value) or "declare" in str(caught.value)
    (after,) = ensemble.generate([[1, 2]], PARAMS, schedule="cos:2,1")
    assert after.token_ids == usual.token_ids


@pytest.mark.parametrize("kind", [kind for kind in ODDS if kind != "undeclared"])
def test_odds_that_are_the_same_everywhere_are_refused_before_any_forward(kind: str):
    function, message = ODDS[kind]
    with pytest.raises(ConfigurationError, match=message):
        tables().start([1, 2], PARAMS, combine=Wrong(odds=function, drawn_by=()))


def test_an_unknown_word_in_reads_is_refused():
    with pytest.raises(ConfigurationError, match=r"reads of combination wrong.*hidden"):
        tables().start([1, 2], PARAMS, combine=Wrong(of, reads=("hidden",)))


@pytest.mark.parametrize("ask", ["generate", "logprobs"])
def test_a_member_without_features_is_refused_by_name(ask: str):
    ensemble = tables(FeatureMember.random(5, 1, "with"), HistoryMember.random(5, 2, "without"))
    with pytest.raises(ConfigurationError, match="feature_gate reads features, which member without does not give"):
        getattr(ensemble, ask)(*([[1, 2]] if ask == "generate" else [[1, 2], [3]]), combine=FeatureGate(0))


def test_a_member_that_promises_features_and_gives_none_is_named():
    member = FeatureMember.random(5, 1, "liar")
    member.features = lambda prefix: torch.zeros(7)  # type: ignore[method-assign]
    ensemble = tables(member, FeatureMember.random(5, 2))
    with pytest.raises(Exception, match=r"member liar must return features of shape \(1, 4\), not: \(1, 7\)"):
        ensemble.generate([[1, 2]], PARAMS, combine=FeatureGate(0), schedule="standard")


def test_stats_say_that_rows_with_features_are_not_compiled():
    ensemble = tables()
    for member in ensemble.members:
        type(member).facts = property(lambda self: {"architecture": "table", "compiled": "yes"})  # type: ignore[assignment]
    try:
        for law, compiled in ((FeatureGate(0), False), (LastTwo(), True)):
            (result,) = ensemble.generate([[1, 2]], PARAMS, combine=law)
            assert [each.compiled for each in result.stats.members] == [compiled] * 2
    finally:
        del FeatureMember.facts
