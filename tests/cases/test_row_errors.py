"""What went wrong with one prompt of a call is not the others' loss: with `return`, with `raise`, and with Ctrl-C."""

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from torch import Tensor

from tests import tiny
from tests.hf import cached
from unisono import ConfigurationError, Ensemble, MemberError, RequestError, SamplingParams, cli
from unisono.combine import Combination, Positions
from unisono.decoding.engine import Engine
from unisono.members.base import Scores, Work
from unisono.members.hf.member import HFMember
from unisono.sampling.logits_edits import Edits
from unisono.sampling.warp import AnyWarp
from unisono.types import Piece, Result

PROMPTS = [[5, 17], [9, 4, 1], [8], [7, 7, 2, 1]]
LONG = [5] * (tiny.CONTEXT + 1)
PLAIN = SamplingParams(max_tokens=9, seed=1)


def make(rows: int = 4) -> Ensemble:
    return tiny.ensemble(tiny.models("llama", num_hidden_layers=1), rows=rows)


def failing(error: BaseException, at: int = 6) -> Callable[[Tensor, Tensor], Tensor]:
    """A processor that cannot go beyond so many tokens."""

    def process(ids: Tensor, logits: Tensor) -> Tensor:
        if ids.shape[1] >= at:
            raise error
        return logits

    return process


def params(**changes: Any) -> SamplingParams:
    return SamplingParams(**{"max_tokens": 9, "seed": 1, **changes})


def texts(results: Sequence[Any]) -> list[Any]:
    return [each.token_ids if isinstance(each, Result) else type(each) for each in results]


def alone(ensemble: Ensemble, prompts: Sequence[Any] = PROMPTS) -> list[Any]:
    return [ensemble.generate([prompt], PLAIN)[0].token_ids for prompt in prompts]


@pytest.mark.parametrize("rows", [1, 4])
def test_an_error_is_returned_in_its_place(rows: int):
    """Of one that fails on its way; the rows beside it and behind it go on to their end."""
    ensemble = make(rows)
    own = [PLAIN, params(logits_processors=[failing(KeyError("k"))]), PLAIN, PLAIN]
    found = ensemble.generate(PROMPTS, own, on_error="return")
    wanted = alone(ensemble)
    assert texts(found) == [wanted[0], RequestError, *wanted[2:]]
    assert cached(ensemble) == [{}, {}]


def test_a_refused_prompt_too():
    """Too long, empty, of unknown ids: an error for each of its samples, so that places can be counted."""
    ensemble, own = make(), [PLAIN, params(n=3), PLAIN, PLAIN, PLAIN]
    found = ensemble.generate([PROMPTS[0], LONG, [], [10**6], PROMPTS[3]], own, on_error="return")
    first, last = alone(ensemble, [PROMPTS[0], PROMPTS[3]])
    assert texts(found) == [first, *[RequestError] * 5, last]
    assert ["too long" in str(each) for each in found] == [False, True, True, True, False, False, False]


@pytest.mark.parametrize("changes", [{"prompt_logprobs": True}, {"n": 2}])
def test_a_member_that_fails_is_everybodys_error(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    """The one forward was for all; what is asked later is served."""
    ensemble = make()

    def broken(self: HFMember, work: Sequence[Work]) -> list[Scores]:
        raise MemberError("no memory for this forward")

    with monkeypatch.context() as patch:
        patch.setattr(HFMember, "score", broken)
        found = ensemble.generate(PROMPTS, params(**changes), on_error="return")
    assert texts(found) == [MemberError] * len(PROMPTS) * changes.get("n", 1)
    assert len(alone(ensemble)) == len(PROMPTS)


class Wrong(Combination):
    name = "wrong"

    def law(self, positions: Positions, warp: AnyWarp) -> Tensor:
        raise ZeroDivisionError


def test_what_is_wrong_with_the_call_is_raised():
    """A method that does not exist, and anything but the two words; an error of any class is returned as it is."""
    ensemble = make()
    with pytest.raises(ConfigurationError, match="schedule") as caught:
        ensemble.generate(PROMPTS, PLAIN, schedule="fast", on_error="return")
    assert caught.value.results == [None] * 4  # type: ignore[attr-defined]
    with pytest.raises(ConfigurationError, match="on_error must be 'raise' or 'return', not: 'ignore'"):
        ensemble.generate(PROMPTS, PLAIN, on_error="ignore")  # type: ignore[arg-type]
    found = ensemble.generate(PROMPTS[:2], PLAIN, combine=Wrong(), on_error="return")
    assert texts(found) == [ZeroDivisionError] * 2


def test_a_raised_error_has_the_results():
    """Of what was finished before it: here rows run one after the other."""
    ensemble = make(rows=1)
    own = [PLAIN, params(n=2), params(logits_processors=[failing(KeyError("k"))]), PLAIN]
    with pytest.raises(RequestError, match="KeyError") as caught:
        ensemble.generate(PROMPTS, own)
    found = caught.value.results  # type: ignore[attr-defined]
    wanted = alone(ensemble)
    assert [each and each.token_ids for each in found][:2] == wanted[:2]
    assert [each is None for each in found] == [False, False, False, True, True]
    assert found[2].sample == 1
    assert cached(ensemble) == [{}, {}]


def test_a_prompt_that_is_refused_has_results():
    """Nothing was begun."""
    with pytest.raises(RequestError, match="too long") as caught:
        make().generate([PROMPTS[0], LONG, PROMPTS[1]], [PLAIN, PLAIN, params(n=2)])
    assert caught.value.results == [None] * 4  # type: ignore[attr-defined]


@pytest.mark.parametrize("on_error", ["raise", "return"])
def test_an_interrupt_has_the_results(on_error: Any):
    """Also where errors are returned, an interrupt is raised."""
    ensemble = make(rows=1)
    own = [PLAIN, PLAIN, params(logits_processors=[failing(KeyboardInterrupt())]), PLAIN]
    with pytest.raises(KeyboardInterrupt) as caught:
        ensemble.generate(PROMPTS, own, on_error=on_error)
    found = caught.value.results  # type: ignore[attr-defined]
    assert [each and each.token_ids for each in found] == [*alone(ensemble)[:2], None, None]
    assert cached(ensemble) == [{}, {}]


def test_an_ensemble_that_is_asked_within_its_own_step_does_not_hang():
    """The error is not one of the inner row, so it is raised even with `return`."""
    ensemble = make()

    def nested(ids: Tensor, logits: Tensor) -> Tensor:
        ensemble.generate([[3]], PLAIN, on_error="return")
        return logits

    (found,) = ensemble.generate([[4]], params(logits_processors=[nested]), on_error="return")
    assert "must not decode with the ensemble that runs it" in str(found)


def test_a_stream_says_what_was_committed_before_its_error(monkeypatch: pytest.MonkeyPatch):
    """The last block is committed, then the row fails."""

    def refuse(edits: Edits) -> None:
        raise RequestError("found out at the end")

    monkeypatch.setattr(Edits, "check", refuse)
    pieces: list[Piece] = []
    with pytest.raises(RequestError, match="found out"):
        pieces += make().stream([5, 17], params(max_tokens=6), schedule="speculative:9")
    assert len([piece.commit for piece in pieces]) == 6


def stopped(after: int, error: BaseException) -> Callable[[Engine], None]:
    """Steps of an engine, of which one fails after so many."""
    step, calls = Engine.step, []

    def counted(engine: Engine) -> None:
        calls.append(1)
        if len(calls) > after:
            raise error
        step(engine)

    return counted


ARGUMENTS = (
    "generate",
    "def f(x):",
    "-m",
    "zoo:code-s",
    "--schedule",
    "standard",
    "--temperature",
    "0",
    "--dtype",
    "float32",
)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [(MemberError("no memory\nleft"), 1, "error: no memory left"), (KeyboardInterrupt(), 130, "interrupted")],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_line_prints_what_is_there(
    error: BaseException, code: int, line: str, as_json: bool, monkeypatch, capsys
):
    """Then one line on standard error."""

    def run(*more: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["unisono", *ARGUMENTS, *more, *["--json"] * as_json])
        with pytest.raises(SystemExit) as exit:
            cli.main()
        return int(exit.value.code or 0), *capsys.readouterr()

    _, whole, _ = run("--max-tokens", "4")
    monkeypatch.setattr(Engine, "step", stopped(4, error))
    ended, out, err = run("--max-tokens", "40")
    assert (ended, err) == (code, f"unisono: {line}\n")
    if as_json:
        found, wanted = json.loads(out), json.loads(whole)
        assert (found["text"], found["token_ids"]) == (wanted["text"], wanted["token_ids"])
        assert found["finish_reason"] is None
        assert line.removeprefix("error: ") in " ".join(found["error"].split())
    else:
        assert out == whole
