"""Ensembles that live long: each of many random requests gets the text that a fresh ensemble gives it."""

import json
from collections.abc import Generator, Iterator
from typing import Any

import httpx
import pytest

from tests.cases.long_lived import BROKEN, KINDS, ROWS, TEAMS, Driver, Library, Wish, load, sources
from tests.hf import cached, hf_members
from tests.server.live import live
from unisono.config import Config
from unisono.server.catalog import Catalog

FEW, MANY = 100, 5000
REQUESTS = [pytest.param(FEW, marks=pytest.mark.slow), pytest.param(MANY, marks=pytest.mark.long)]


@pytest.fixture(scope="module", params=["off", "on"])
def library(request: pytest.FixtureRequest) -> Library:
    """Three ensembles over the same loaded models, compiled or not."""
    members = sources(request.param)
    ensembles = {name: load(team, members) for name, team in TEAMS.items()}
    compiled = [member.compiled for ensemble in ensembles.values() for member in hf_members(ensemble)]
    assert all(each is (request.param == "on") for each in compiled)
    return Library(ensembles)


@pytest.mark.parametrize("requests", REQUESTS)
def test_in_the_library(library: Library, requests: int):
    """Whole and as streams, dropped, refused, failing and interrupted ones among them; no slot is left behind."""
    driver = Driver(library, seed=requests)
    driver.run(requests)
    driver.require_all_kinds()
    assert all(not slots for ensemble in library.ensembles.values() for slots in cached(ensemble))


class Web:
    """The same requests to a server, one model per team."""

    errors: tuple[type[Exception], ...] = (httpx.HTTPStatusError,)
    kinds = KINDS
    broken: tuple[dict[str, Any], ...] = (*BROKEN, {"prompts": [[]]}, {"sampling": {"n": 0}})

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def texts(self, wish: Wish) -> list[str]:
        answer = self._client.post("/v1/completions", json=self._body(wish)).raise_for_status()
        return [choice["text"] for choice in answer.json()["choices"]]

    def stream(self, wish: Wish) -> Generator[str, None, None]:
        body = {**self._body(wish), "stream": True}
        with self._client.stream("POST", "/v1/completions", json=body) as answer:
            for line in answer.raise_for_status().iter_lines():
                data = line.removeprefix("data: ")
                if data and data != "[DONE]":
                    yield json.loads(data)["choices"][0]["text"]

    def _body(self, wish: Wish) -> dict[str, Any]:
        return {"model": wish.team, "prompt": wish.prompts, **wish.sampling, "collaboration": wish.method}


@pytest.fixture(scope="module", params=["off", "on"])
def web(request: pytest.FixtureRequest) -> Iterator[Web]:
    members = sources(request.param)
    catalog = {
        name: Config(
            tuple(members[each] for each in team.members), draft=None if team.draft is None else members[team.draft]
        )
        for name, team in TEAMS.items()
    }
    with live(Catalog(catalog), rows=ROWS) as running, running.http as client:
        yield Web(client)
        assert running.idle()
        assert all(not slots for name in TEAMS for slots in cached(running.ensemble(name)))


@pytest.mark.parametrize("requests", REQUESTS)
def test_through_the_server(web: Web, requests: int):
    """The same, by HTTP."""
    driver = Driver(web, seed=requests + 1)
    driver.run(requests)
    driver.require_all_kinds()
