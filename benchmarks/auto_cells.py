"""The cells of `auto.py`: in which cases the speed of `auto` is measured, what it is divided by, and the bars."""

from dataclasses import dataclass, replace
from itertools import product

UNEQUAL = "90M+code-s"


@dataclass(frozen=True)
class Rival:
    """What the speed of `auto` is divided by, and the bars of this ratio. A bar that is None does not exist.

    choice: a schedule, with a combination if it is not the one of the members. The text `picked` stands for the fastest
    fixed choice of an earlier run. members: a name of `auto_pairs.PAIRS`; if it is empty, the members of the cell.
    ratio, low, high: the least allowed ratio, and the least allowed ends of its 95% interval.
    """

    choice: str = "standard"
    members: str = ""
    ratio: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def name(self) -> str:
        return f"{self.members}: {self.choice}" if self.members else self.choice

    def holds(self, found: tuple[float, float, float]) -> bool:
        """Return whether a ratio with the two ends of its interval reaches all bars."""
        bars = (self.ratio, self.low, self.high)
        return all(bar is None or value >= bar for value, bar in zip(found, bars, strict=True))


PICKED = "picked"


@dataclass(frozen=True)
class Cell:
    """A case in which the speed of `auto` is measured.

    fixed: the choices from which a first run picks the fastest one. bound: whether to compute the gain of drafts by the
    closed formula.
    """

    part: str
    pair: str
    rows: int = 1
    temperature: float = 1
    top_p: float = 1
    combine: str | None = None
    prompts: str = "python"
    rivals: tuple[Rival, ...] = (Rival(),)
    fixed: tuple[str, ...] = ()
    bound: bool = False

    @property
    def name(self) -> str:
        """The name, unique within the part. An example is `zoo x8 T=1 top_p=0.9`."""
        words = [self.pair, f"x{self.rows}", f"T={self.temperature:g}"]
        words += [f"top_p={self.top_p:g}"] if self.top_p < 1 else []
        words += [each for each in (self.combine, self.prompts) if each not in (None, "python")]
        return " ".join(words)


DRAWN = "drawn:0.5,0.5"
FIXED = {  # whether the members have equal sizes, temperature -> the fixed choices
    (True, 1): ("standard", "cos:1,1", "cos:2,2", "lookup:4", f"risky:0 {DRAWN}", f"cos:1,1 {DRAWN}"),
    (True, 0): ("standard", "speculative:2", "cos:1,1", "cos:2,1", "cos:2,2", "lookup:4"),
    (False, 1): ("speculative:4", "cos:1,4", "cos:1,8", f"risky:0 {DRAWN}", f"risky:2 {DRAWN}", f"risky:3 {DRAWN}"),
    (False, 0): ("speculative:4", "cos:1,1", "cos:1,4", "cos:1,6", "cos:1,8", "lookup:4"),
}
REPEATED = ("standard", "cos:1,1", "cos:2,2", "lookup:4", "lookup:8", "lookup:16")
SAMPLINGS = ((0, 1), (1, 1), (1, 0.9))  # temperature, top_p


def standard() -> list[Cell]:
    """`auto` over `standard`, 45 cells."""
    rival = Rival(low=0.95, high=1.0)
    return [
        Cell("standard", pair, rows, *sampling, rivals=(rival,))
        for pair, rows, sampling in product(("zoo", "90M", "padded"), (1, 4, 8, 16, 32), SAMPLINGS)
    ]


def fixed() -> list[Cell]:
    """`auto` over the fastest of six fixed schedules, 12 cells."""
    rival = Rival(PICKED, ratio=0.93)
    return [
        Cell("fixed", pair, rows, temperature, rivals=(rival,), fixed=FIXED[pair != UNEQUAL, temperature])
        for pair, rows, temperature in product(("zoo", "90M", UNEQUAL), (1, 8), (1, 0))
    ]


def drawn() -> list[Cell]:
    """`auto` over `drawn` without drafts (ME)."""
    without = Rival(f"risky:0 {DRAWN}")
    bars = {"90M": replace(without, high=1.0), UNEQUAL: replace(without, ratio=1.5)}
    return [Cell("drawn", pair, rivals=(rival,), bound=True) for pair, rival in bars.items()]


def alone() -> list[Cell]:
    """`auto` over the larger member: by itself, with look-ups, and with the smaller member as its draft model.

    The bars of look-ups were measured on texts that repeat themselves, which is at temperature 0.
    """
    lengths = {"90M": (0.95, 0.78, 1), UNEQUAL: (2.94, 2.16, 4)}
    return [
        Cell(
            "alone", pair, temperature=temperature,
            rivals=(
                Rival("standard", "one 90M", ratio=bar),
                Rival("lookup:4", "one 90M", ratio=None if temperature else looking),
                Rival("auto", "one 90M", ratio=None if temperature else looking),
                Rival(f"speculative:{length} only:0"),
                Rival("auto only:0"),
            ),
        )
        for (pair, (bar, looking, length)), temperature in product(lengths.items(), (1, 0))
    ]  # fmt: skip


def one() -> list[Cell]:
    """One model under `auto` over its `standard`: by itself, and with a draft model that is as slow as the model."""
    rival = Rival(low=0.97, high=1.0)
    return [Cell("one", pair, rivals=(rival,)) for pair in ("one 90M", "one 90M, drafted for")]


def others() -> list[Cell]:
    """A contrastive combination, and texts that repeat themselves."""
    repeated = Rival(PICKED, ratio=0.95)
    return [
        Cell("others", UNEQUAL, combine="contrastive:0.1", rivals=(Rival(ratio=1.75),)),
        Cell("others", "90M", temperature=0, prompts="edits", rivals=(repeated,), fixed=REPEATED),
    ]


PARTS = {make.__name__: make() for make in (standard, fixed, drawn, alone, one, others)}


def large(rows: int) -> list[str]:
    """Return the names of the cells of the part `standard` with 90M members and so many rows."""
    return [cell.name for cell in PARTS["standard"] if cell.pair != "zoo" and cell.rows == rows]


MEANS = {  # name of a geometric mean -> its least value, its part, and the names of its cells
    "standard, 90M pairs, 1 row": (1.5, "standard", large(1)),
    "standard, 90M pairs, 8 rows": (1.2, "standard", large(8)),
    "fixed, 12 cells": (1.0, "fixed", [cell.name for cell in PARTS["fixed"]]),
}
