"""Where a continuation leaves nothing to score there is an error, before any forward, and never a score of nothing."""

from collections.abc import Callable
from typing import Any

import pytest

from tests import tiny
from tests.facade.one_line import one_line
from tests.hf import hf
from unisono import Ensemble
from unisono.errors import RequestError

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.xdist_group("harness")]
pytest.importorskip("lm_eval")
from lm_eval.api.instance import Instance  # noqa: E402 - may be missing

from unisono.evals.harness import UnisonoLM  # noqa: E402 - needs lm_eval

CORPUS = ["Answer hello world"] * 12 + list(tiny.CORPUS)  # so that "Answer" and " world" are one token each
MERGED = [("Ans", "wer"), (" wor", "ld"), ("Answ", "er")]
FINE = [("Ans", "xyz"), ("Ans", "!"), ("Answer ", "hello"), ("Answer", " world")]


def load(start: bool) -> Ensemble:
    return tiny.ensemble(tiny.text_models()[:1], tiny.tokenizer(CORPUS, start=start))


@pytest.fixture(scope="module", params=[False, True], ids=["no BOS", "BOS"])
def ensemble(request: pytest.FixtureRequest) -> Ensemble:
    return load(request.param)


def asked(kind: str, *arguments: Any) -> list[Any]:
    return [Instance(kind, {}, argument, index) for index, argument in enumerate(arguments)]


def unread(ensemble: Ensemble, call: Callable[[], object], patch: pytest.MonkeyPatch) -> str:
    """The message of the call's error, which must come before anything is scored."""
    with patch.context() as context:
        context.setattr(type(ensemble.members[0]), "score", lambda *_: pytest.fail("something was scored"))
        return one_line(RequestError, call)


@pytest.mark.parametrize("pair", [*MERGED, ("Ans", ""), ("", ""), ("", "<s>"), ("Ans ", "")])
def test_a_pair_without_a_target_is_an_error(ensemble: Ensemble, pair: tuple[str, str], monkeypatch: Any):
    """Alone, or between others; of the library and of the harness's class. (Blanks of the prompt are a target.)"""
    if pair == ("Ans ", ""):
        assert ensemble.logprobs(*pair).token_ids == tuple(ensemble.tokenizer.encode(" ", add_special_tokens=False))
        return
    lists = [list(each) for each in zip(FINE[0], pair, FINE[1], strict=True)]
    requests = asked("loglikelihood", FINE[0], pair, FINE[1])
    for call in (lambda: ensemble.logprobs(*lists), lambda: UnisonoLM(ensemble).loglikelihood(requests)):
        message = unread(ensemble, call, monkeypatch)
        assert message.startswith(f"1 of 3 pairs cannot be scored: [1] {pair[0]!r} + {pair[1]!r}: ")
    assert repr(pair[1]) in unread(ensemble, lambda: ensemble.logprobs(*pair), monkeypatch)


def test_every_pair_that_fails_is_named_up_to_ten(ensemble: Ensemble, monkeypatch: Any):
    pairs = [*FINE, *MERGED, *FINE, *MERGED * 4]
    message = unread(ensemble, lambda: UnisonoLM(ensemble).loglikelihood(asked("loglikelihood", *pairs)), monkeypatch)
    assert message.startswith("15 of 23 pairs cannot be scored: [4] 'Ans' + 'wer': the tokenizer merges")
    assert [f"[{index}] " in message for index in range(23)].count(True) == 10
    assert message.endswith("; and 5 more")
    assert message == unread(ensemble, lambda: ensemble.logprobs(*map(list, zip(*pairs, strict=True))), monkeypatch)


@pytest.mark.parametrize("text", ["", "x" * 40])
def test_a_text_of_nothing_has_no_log_probability(ensemble: Ensemble, text: str, monkeypatch: Any):
    """Rolling, where the other texts are fine; a long text that is refused is named by its beginning."""
    model = UnisonoLM(ensemble)
    assert model.loglikelihood_rolling(asked("loglikelihood_rolling", ("hello",)))[0] < 0
    if text:
        monkeypatch.setattr(ensemble.prompts, "_forbidden", frozenset(ensemble.tokenizer.encode("x")[-1:]))
    requests = asked("loglikelihood_rolling", ("hello",), (text,), ("world",))
    message = unread(ensemble, lambda: model.loglikelihood_rolling(requests), monkeypatch)
    assert message.startswith(f"1 of 3 texts cannot be scored: [1] '' + {text[:30]!r}: ")


def test_what_can_be_split_is_split_as_the_hf_class_does(ensemble: Ensemble):
    """Blanks at the border, empty contexts, tokens that span the border with something behind them, and texts with BOS."""
    from lm_eval.models.huggingface import HFLM

    theirs = HFLM(pretrained=hf(ensemble).model, tokenizer=ensemble.tokenizer, max_length=tiny.CONTEXT)
    pairs = [
        *FINE,
        ("Ans", "wer hello world"),
        ("Answer \n", " hello"),
        ("", "hello"),
        ("", "<s>hello"),
        ("<s>hello", " world"),
        ("<s>", "hello"),
        ("x" * 600, " y"),
    ]
    wanted = theirs.loglikelihood(asked("loglikelihood", *pairs), disable_tqdm=True)
    found = UnisonoLM(ensemble).loglikelihood(asked("loglikelihood", *pairs), disable_tqdm=True)
    library = ensemble.logprobs(*[list(each) for each in zip(*pairs[:-1], strict=True)])
    for mine, yours in zip(found, wanted, strict=True):
        assert mine[0] == pytest.approx(yours[0], abs=1e-3)
        assert mine[1] == yours[1]
    for score, yours in zip(library, wanted, strict=False):
        assert score.total == pytest.approx(yours[0], abs=1e-3)
        assert score.is_greedy == yours[1]
    rolled = asked("loglikelihood_rolling", ("Answer hello",), ("<s>hello",))
    assert UnisonoLM(ensemble).loglikelihood_rolling(rolled) == pytest.approx(
        theirs.loglikelihood_rolling(rolled, disable_tqdm=True), abs=1e-3
    )
