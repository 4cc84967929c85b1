"""Random requests to ensembles that live long, and the texts that a fresh ensemble gives them.

Where texts differ, the error names the seed and the number of the request; the same seed makes the same requests again.
"""

import random
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, Protocol

from torch import Tensor

from tests import tiny
from unisono import Ensemble, SamplingParams
from unisono.members.backends import as_source
from unisono.members.source import Source

ROWS = 4  # that run at the same time; more wait
OPEN = 5  # streams that are open at the same time
LENGTHS = (1, 1, 2, 3, 7, 15, 16, 17, 40, 64, 65, 130, 300)
PAIR = (
    "weighted:0.4,0.6", "drawn:0.5,0.5", "product:0.6,0.4", "contrastive:0.2", "cosd:0.5,0.5", "cascade:chow,0.3",
    "nudge:0.3", "gate:0.7,0.3", "only:0", "only:1",
)  # fmt: skip
SCHEDULES = ("standard", "parallel", "speculative:3", "relay:2", "risky:1", "lookup:2", "auto")
KINDS: tuple[dict[str, Any], ...] = (
    {}, {}, {"temperature": 0}, {"temperature": 0.7, "top_p": 0.9}, {"top_k": 20, "min_p": 0.05},
    {"repetition_penalty": 1.3, "presence_penalty": 0.4}, {"logit_bias": {7: 4.0}, "min_tokens": 1},
    {"stop_token_ids": list(range(0, 300, 9))}, {"n": 2}, {"n": 3, "temperature": 0.8}, {"stop": ["e", ")"]},
)  # fmt: skip
BROKEN: tuple[dict[str, Any], ...] = (
    {"prompts": [[5] * (tiny.CONTEXT + 9)]}, {"prompts": [[10**6]]}, {"schedule": "cos:1"}, {"combine": "weighted:-1,1"},
    {"verification": "guess"}, {"sampling": {"temperature": -1}}, {"sampling": {"stop_token_ids": [10**6]}},
)  # fmt: skip


@dataclass(frozen=True)
class Team:
    """An ensemble, by the places of its members among the models; `draft` only proposes."""

    members: tuple[int, ...]
    draft: int | None = None

    @property
    def combinations(self) -> tuple[str, ...]:
        return PAIR if self.members[1:] else ("only:0",)

    @property
    def schedules(self) -> tuple[str, ...]:
        lengths = (2, 1, 3)[: len(self.members) + (self.draft is not None)]
        return (*SCHEDULES, "cos:" + ",".join(map(str, lengths)))


# The draft model of the second is a twin of a member
TEAMS = {"pair": Team((0, 1)), "drafted": Team((1, 0), draft=0), "alone": Team((0,), draft=1)}


TOKENS = tiny.tokenizer()


def sources(compile: str = "off") -> list[Source]:
    """Two models of one layer that agree now and then."""
    models = tiny.models("llama", 2, num_hidden_layers=1, vocab_size=tiny.TEXT_VOCABULARY)
    return [as_source({"model": model, "tokenizer": TOKENS, "compile": compile}) for model in models]


def load(team: Team, members: list[Source], rows: int = ROWS) -> Ensemble:
    draft = None if team.draft is None else members[team.draft]
    return Ensemble.load([members[each] for each in team.members], rows=rows, draft=draft)


@dataclass(frozen=True)
class Wish:
    """One call: a request per prompt and sample."""

    team: str
    prompts: list[list[int]]
    sampling: Mapping[str, Any]
    combine: str
    schedule: str
    verification: str

    @property
    def method(self) -> dict[str, Any]:
        return {"combine": self.combine, "schedule": self.schedule, "verification": self.verification}

    @property
    def rows(self) -> int:
        return len(self.prompts) * int(self.sampling.get("n", 1))

    def wanted(self) -> list[str]:
        """The texts of a fresh ensemble, of one prompt after the other.

        Under `standard` where the text does not depend on the schedule, else under the same method.
        """
        free = self.verification == "coupled" or self.sampling.get("temperature") == 0
        method = {**self.method, "schedule": "standard", "verification": "coupled"} if free else self.method
        team, params = TEAMS[self.team], SamplingParams(**self.sampling)
        fresh = load(replace(team, draft=None) if free else team, sources())
        return [result.text for prompt in self.prompts for result in fresh.generate([prompt], params, **method)]


class Front(Protocol):
    """How requests reach the ensembles. errors: what a call raises that is refused, or ends in an error."""

    errors: tuple[type[Exception], ...]
    kinds: tuple[dict[str, Any], ...]
    broken: tuple[dict[str, Any], ...]

    def texts(self, wish: Wish) -> list[str]: ...

    def stream(self, wish: Wish) -> Generator[str, None, None]: ...


def nudge(ids: Tensor, logits: Tensor) -> Tensor:
    logits[:, int(ids.sum()) % logits.shape[-1]] += 9
    return logits


def fail(ids: Tensor, logits: Tensor) -> Tensor:
    if int(ids[0, -1]) % 2:
        return logits
    raise RuntimeError("of this processor alone")


def interrupt(ids: Tensor, logits: Tensor) -> NoReturn:
    raise KeyboardInterrupt


@dataclass
class Library:
    """Calls of the library."""

    ensembles: Mapping[str, Ensemble]
    errors: tuple[type[Exception], ...] = (ValueError, RuntimeError)
    kinds: tuple[dict[str, Any], ...] = (*KINDS, {"logits_processors": [nudge]}, {"logprobs": True, "top_logprobs": 2})
    broken: tuple[dict[str, Any], ...] = (
        *BROKEN, {"prompts": [[]]}, {"prompts": [[7], [], [8]]},
        {"sampling": {"logits_processors": [fail], "min_tokens": 60, "max_tokens": 60}},
        {"sampling": {"logits_processors": [interrupt]}},
    )  # fmt: skip

    def texts(self, wish: Wish) -> list[str]:
        params = SamplingParams(**wish.sampling)
        return [each.text for each in self.ensembles[wish.team].generate(wish.prompts, params, **wish.method)]

    def stream(self, wish: Wish) -> Generator[str, None, None]:
        params = SamplingParams(**wish.sampling)
        for piece in self.ensembles[wish.team].stream(wish.prompts[0], params, **wish.method):
            yield piece.text


@dataclass
class Open:
    """A stream that is being read."""

    wish: Wish
    pieces: Iterator[str]
    text: str = ""


@dataclass
class Driver:
    """Makes requests, reads streams in turns, drops some, and compares every text. One seed is one course of events."""

    front: Front
    seed: int
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)
        self._streams: list[Open] = []

    def require_all_kinds(self) -> None:
        """Each kind of request was made often enough to have been tried."""
        least = self.counts.total() // 25
        assert all(self.counts[kind] > least for kind in ("whole", "streams", "dropped", "refused")), self.counts

    def run(self, requests: int) -> None:
        """Go on until so many requests were compared, dropped or refused."""
        actions = {self._generate: 3, self._open: 4, self._read: 8, self._drop: 2, self._refused: 2}
        while self.counts.total() < requests:
            (action,) = self._dice.choices(list(actions), list(actions.values()))
            action()
        while self._streams:
            self._read()

    def wish(self, most: int = 4) -> Wish:
        dice, team = self._dice, self._dice.choice(list(TEAMS))
        prompts = [
            [dice.randrange(tiny.TEXT_VOCABULARY) for _ in range(dice.choice(LENGTHS))]
            for _ in range(dice.randint(1, most))
        ]
        sampling = {"max_tokens": dice.randint(1, 12), "seed": dice.randrange(2**32), **dice.choice(self.front.kinds)}
        sampling["ignore_eos"] = dice.random() < 0.5
        schedule = dice.choice(TEAMS[team].schedules)
        verification = "coupled" if schedule == "auto" else dice.choice(("coupled", "coupled", "token", "block"))
        return Wish(team, prompts, sampling, dice.choice(TEAMS[team].combinations), schedule, verification)

    def _single(self) -> Wish:
        wish = self.wish(most=1)
        return replace(wish, sampling={**wish.sampling, "n": 1})

    def _generate(self) -> None:
        wish = self.wish()
        self._compare(wish, self.front.texts(wish))
        self.counts["whole"] += wish.rows

    def _open(self) -> None:
        if len(self._streams) < OPEN:
            wish = self._single()
            self._streams.append(Open(wish, self.front.stream(wish)))

    def _read(self) -> None:
        for stream in self._dice.sample(self._streams, min(2, len(self._streams))):
            for _ in range(self._dice.randint(1, 5)):
                piece = next(stream.pieces, None)
                if piece is None:
                    self._streams.remove(stream)
                    self._compare(stream.wish, [stream.text])
                    self.counts["streams"] += 1
                    break
                stream.text += piece

    def _drop(self) -> None:
        """A stream is left: at once, or in the middle, and what it said so far is right."""
        if not self._streams:
            return
        stream = self._streams.pop(self._dice.randrange(len(self._streams)))
        if self._dice.random() < 0.5:
            stream.text += next(stream.pieces, "")
        if self._dice.random() < 0.5:
            stream.pieces.close()  # type: ignore[attr-defined]
        self.counts["dropped"] += 1
        if stream.text:
            (wanted,) = stream.wish.wanted()
            self._require(stream.wish, wanted[: len(stream.text)], stream.text)

    def _refused(self) -> None:
        broken = self._dice.choice(self.front.broken)
        wish = self.wish()
        wish = replace(wish, **{**broken, "sampling": {**wish.sampling, **broken.get("sampling", {})}})
        try:
            self.front.texts(wish)
        except self.front.errors:
            self.counts["refused"] += 1
        except KeyboardInterrupt:  # what ran at the time ends with an error
            self._streams.clear()
            self.counts["interrupted"] += 1
        else:
            raise AssertionError(f"request {self.counts.total()} of seed {self.seed} was not refused: {wish}")

    def _compare(self, wish: Wish, found: list[str]) -> None:
        self._require(wish, wish.wanted(), found)

    def _require(self, wish: Wish, wanted: object, found: object) -> None:
        where = f"request {self.counts.total()} of seed {self.seed}"
        assert found == wanted, f"{where}: {found!r} is not {wanted!r}: {wish}"
