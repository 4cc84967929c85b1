"""Who wrote a token is told alike by the library, the trace of the command line and the server."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from tests.server.live import KEY, Live, live, sources
from tests.tiny import text_models, tokenizer
from unisono import Ensemble, SamplingParams
from unisono.config import Config
from unisono.decoding.frontier import Frontier
from unisono.members.source import Source
from unisono.server.catalog import Catalog
from unisono.text.trace import Trace
from unisono.tokens.token_text import token_text
from unisono.types import Commit, Piece, Result

PROMPT = "def f(x): def f(x): def f(x):"
PARAMS = SamplingParams(max_tokens=48, seed=7, ignore_eos=True)


@pytest.fixture(scope="module")
def drafted() -> Iterator[Live]:
    """A pair with a draft model, and the pair itself."""
    pair = sources()
    draft = Source(model=text_models(count=3)[2], tokenizer=tokenizer(), name="tiny")
    sampling = {"max_tokens": 24}
    models = {
        "drafted": Config(pair, "weighted:0.7,0.3", "relay:2", draft=draft, sampling=sampling),
        "pair": Config(pair, "weighted:0.7,0.3", "cos:2,1", sampling=sampling),
    }
    with live(Catalog(models), keys=(KEY,), rows=4) as running:
        yield running


def decoded(ensemble: Ensemble, schedule: str, verification: str = "token") -> Result:
    (result,) = ensemble.generate(PROMPT, PARAMS, schedule=schedule, verification=verification)
    return result


@pytest.mark.parametrize(
    ("schedule", "verification"),
    [("lookup:3", "token"), ("cos:2,1", "token"), ("cos:1,2", "block"), ("speculative:3", "coupled")],
)
def test_a_redrawn_token_tells_what_it_replaces(drafted, schedule, verification, monkeypatch):
    """It is the open proposal at its place; no other token has one."""
    replaced: list[int | None] = []
    correct = Frontier.replace

    def watched(frontier: Frontier, token: int) -> Any:
        replaced.append(int(frontier.proposals[0].token) if frontier.proposals else None)
        return correct(frontier, token)

    monkeypatch.setattr(Frontier, "replace", watched)
    commits = decoded(drafted.ensemble("pair"), schedule, verification).commits
    assert [each.proposed for each in commits if each.origin != "accepted"] == replaced
    assert all(each.proposed is None for each in commits if each.origin == "accepted")
    redrawn = [each for each in commits if each.origin == "redrawn"]
    assert redrawn
    assert all(each.proposed not in (None, each.token) for each in redrawn)


def test_a_token_that_was_looked_up_is_not_one_that_was_drawn(drafted):
    """Look-ups that stand and that fall count for the text, and for no member."""
    result = decoded(drafted.ensemble("pair"), "lookup:3")
    found = [each for each in result.commits if each.looked_up]
    assert {each.origin for each in found} == {"accepted", "redrawn"}
    assert sum(each.origin == "accepted" for each in found) == result.stats.lookup.accepted
    assert len(found) == result.stats.lookup.decided
    assert all(not each.looked_up for each in result.commits if each.member is not None or each.origin == "drawn")


def traced(commits: list[Commit], **options: Any) -> str:
    out = io.StringIO()
    trace = Trace(tokenizer(), ["large", "tiny (drafts only)"], Console(file=out, soft_wrap=True, **options))
    for commit in commits:
        trace.token(Piece("", commit, token_text=tokenizer().decode([commit.token])))
    return out.getvalue()


def test_the_trace_without_colours_has_a_mark_for_each_origin():
    a, b = (tokenizer().encode(text)[0] for text in ("a", "b"))
    commits = [
        Commit(a, "accepted", 1), Commit(a, "accepted", proposer="lookup"), Commit(a, "drawn"),
        Commit(a, "redrawn", 0, proposed=b), Commit(a, "redrawn", proposed=b, proposer="lookup"),
    ]  # fmt: skip
    legend, body = traced(commits).split("\n")
    assert body == "[1]a[+]a[=]a[~0 'b']a[~+ 'b']a"
    assert [word in legend for word in ("large", "tiny (drafts only)", "looked up", "drawn", "redrawn")] == [True] * 5


def test_the_trace_in_colours_strikes_out_what_was_replaced():
    """Underlined: looked up. Reversed: redrawn, behind the proposal."""
    a, newline = tokenizer().encode("a")[0], tokenizer().encode("\n")[0]
    commits = [Commit(a, "accepted", proposer="lookup"), Commit(a, "redrawn", 0, proposed=newline)]
    body = traced(commits, force_terminal=True, color_system="standard", no_color=False).split("\n")[1]
    assert body == "\x1b[4;90ma\x1b[0m\x1b[2;9;36m\\n\x1b[0m\x1b[7;36ma\x1b[0m"


def streamed(server: Live, model: str, **collaboration: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The turns and the tokens of a trace."""
    body = {"model": model, "prompt": PROMPT, "seed": 7, "max_tokens": 48, "ignore_eos": True, "stream": True}
    with server.http as http:
        asked = body | {"trace": {"candidates": 2}, "collaboration": collaboration}
        events = http.post("/v1/completions", json=asked).text.split("\n\n")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events if event.startswith("data: {")]
    seen = [chunk["unisono"] for chunk in chunks if "unisono" in chunk]
    return [each["turn"] for each in seen], [token for each in seen for token in each["tokens"]]


@pytest.mark.parametrize(("model", "schedule"), [("pair", "lookup:3"), ("pair", "cos:2,1"), ("drafted", "relay:2")])
def test_the_servers_trace_tells_what_the_library_tells(drafted, model, schedule):
    turns, tokens = streamed(drafted, model, schedule=schedule)
    own = decoded(drafted.ensemble(model), schedule)
    assert [(each["id"], each["looked_up"], each["proposed"] and each["proposed"]["id"]) for each in tokens] == [
        (each.token, each.looked_up, each.proposed) for each in own.commits
    ]
    assert sum(turn["looked_up"] for turn in turns) == own.stats.lookup.proposed
    texts = [each["proposed"]["text"] for each in tokens if each["proposed"]]
    replaced = [each.proposed for each in own.commits if each.proposed is not None]
    assert texts == [token_text(tokenizer(), token) for token in replaced]
    assert texts


@pytest.mark.parametrize("combine", ["drawn:0.5,0.5", "drawn:0.2,0.8"])
@pytest.mark.parametrize("schedule", ["cos:1,2", "standard"])
def test_the_law_of_a_drawn_member_is_told(drafted, combine, schedule):
    """The token follows the law of the member that was drawn for its position, also where the others were heard."""
    _, tokens = streamed(drafted, "pair", schedule=schedule, combine=combine)
    assert {each["drawn"] for each in tokens} == {0, 1}
    for token in tokens:
        for each in token["candidates"]:
            assert each["combined"] is not None
            assert each["combined"] == each["members"][token["drawn"]]


def test_nobody_is_drawn_for_other_combinations(drafted):
    assert {each["drawn"] for each in streamed(drafted, "pair", combine="contrastive:0.2")[1]} == {None}


def test_a_draft_model_is_no_member_of_the_combination(drafted):
    """It proposes under its own name, which says what it is."""
    with drafted.http as http:
        described = {each["id"]: each for each in http.get("/v1/models").json()["data"]}
    assert [each["drafts_only"] for each in described["drafted"]["members"]] == [False, False, True]
    assert [each["drafts_only"] for each in described["pair"]["members"]] == [False, False]
    assert described["pair"]["per_member"] == ["weighted", "drawn", "product", "gate"]
    own = decoded(drafted.ensemble("drafted"), "relay:2")
    assert 2 in {each.member for each in own.commits}
    assert drafted.ensemble("drafted").lineup.labels == ["large", "small", "tiny (drafts only)"]
