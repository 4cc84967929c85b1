"""Trains one bundled model: `python -m zoo.train --model code-m --tokens 12000000 --seed 1`.

The one idea: warmup, a stable phase, then a linear decay to zero over the second half. The order of the
data depends on the seed only, never on `--tokens`, so any checkpoint of the stable phase can be resumed
with another budget and decays as if that budget had been asked for from the start.
"""

import argparse
import json
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaForCausalLM

from zoo.attention import install
from zoo.corpus import read_snapshot, training_files
from zoo.models import SHAPES, WEIGHTS, build, export
from zoo.skills import skill_documents
from zoo.tokens import LONGEST, SKILLS_FOLDER, encode_files, load_tokenizer

RUNS = Path(__file__).parent / "runs"
WARMUP_STEPS = 50
DECAY_SHARE = 0.5
LONG_SHARE = 0.2
CHECK_EVERY = 200
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Run:
    """What a checkpoint must hold besides weights and optimiser states."""

    model: str
    seed: int
    rows: int = 4  # of `longest` tokens per step
    rate: float = 5e-3  # the learning rate's peak
    step: int = 0
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)  # each start and the tokens it began at
    longest: int = LONGEST

    @property
    def tokens(self) -> int:
        """Tokens learned from so far."""
        return self.step * self.rows * self.longest


def blocks(documents: list[np.ndarray], seed: int, epoch: int, longest: int = LONGEST) -> np.ndarray:
    """One epoch: documents shuffled and joined, cut at a random phase into shuffled rows of `longest` + 1."""
    generator = np.random.default_rng([seed, epoch])
    stream = np.concatenate([documents[i] for i in generator.permutation(len(documents))])
    start = int(generator.integers(longest))
    count = (len(stream) - start - 1) // longest
    rows: np.ndarray = stream[start + longest * generator.permutation(count)[:, None] + np.arange(longest + 1)]
    return rows


def batches(
    documents: list[np.ndarray], seed: int, first_step: int, size: int = 4, longest: int = LONGEST
) -> Iterator[Tensor]:
    """Endless batches of `size` rows, from `first_step` on as if the earlier ones had been drawn."""
    epoch = 0
    while True:
        rows = blocks(documents, seed, epoch, longest)
        steps = len(rows) // size
        for step in range(first_step, steps):
            yield torch.from_numpy(rows[step * size : (step + 1) * size]).long()
        first_step, epoch = max(0, first_step - steps), epoch + 1


def scale(step: int, last_step: int) -> float:
    """The learning rate's factor: warmup, stable, linear decay to zero."""
    left = (last_step - step) / (DECAY_SHARE * last_step)
    return max(0.0, min(1.0, (step + 1) / WARMUP_STEPS, left))


def sequence_length(step: int, last_step: int, longest: int = LONGEST) -> int:
    """Half-length rows are cheaper; the end of the decay teaches the positions above."""
    return longest if step >= (1 - LONG_SHARE) * last_step else longest // 2


def optimisers(model: nn.Module, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices between layers, AdamW for embeddings and norms: fewer tokens to the same loss."""
    named = list(model.named_parameters())
    matrices = [p for name, p in named if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in named if not (p.ndim == 2 and "embed" not in name)]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]


def make_loss(model: LlamaForCausalLM) -> Loss:
    """The mean loss in nats per token of inputs and targets."""

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(input_ids=inputs, use_cache=False).logits
        return functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())

    return loss


def train_step(loss_of: Loss, rows: Tensor, length: int, tools: list[torch.optim.Optimizer]) -> float:
    """One update on rows cut to sequences of `length`; returns the loss before it."""
    loss = loss_of(rows[:, :-1].reshape(-1, length), rows[:, 1:].reshape(-1, length))
    loss.backward()  # type: ignore[no-untyped-call]
    for tool in tools:
        nn.utils.clip_grad_norm_([p for group in tool.param_groups for p in group["params"]], 1.0)
        tool.step()
        tool.zero_grad(set_to_none=True)
    return float(loss.item())


def set_rate(tools: list[torch.optim.Optimizer], rate: float) -> None:
    """Both optimisers follow the same schedule."""
    for tool in tools:
        for group in tool.param_groups:
            group["lr"] = rate


@torch.no_grad()
def held_out_loss(loss_of: Loss, rows: Tensor) -> float:
    """Nats per token on a fixed sample of held-out rows; not compiled, because it runs so seldom."""
    return float(sum(loss_of(row[:, :-1], row[:, 1:]).item() for row in torch.split(rows, 1))) / len(rows)


def save(folder: Path, run: Run, model: nn.Module, tools: list[torch.optim.Optimizer]) -> None:
    """Replaces the checkpoint and the curve at once, so that a crash leaves the old one."""
    state = {"run": asdict(run), "model": model.state_dict(), "tools": [tool.state_dict() for tool in tools]}
    torch.save(state, folder / "checkpoint.partial")
    (folder / "checkpoint.partial").replace(folder / "checkpoint.pt")
    (folder / "curve.json").write_text(json.dumps(asdict(run), indent=1) + "\n")


def load(folder: Path, model: nn.Module, tools: list[torch.optim.Optimizer]) -> Run:
    """Restores what `save` wrote and returns the run to continue."""
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    model.load_state_dict(state["model"])
    for tool, saved in zip(tools, state["tools"], strict=True):
        tool.load_state_dict(saved)
    return Run(**state["run"])


def prepare(model: str, seed: int) -> tuple[list[np.ndarray], Tensor]:
    """The model's training documents and 8 fixed held-out rows."""
    if SHAPES[model].tokenizer == SKILLS_FOLDER:
        documents, held_out = skill_documents(model, seed)
        return documents, torch.from_numpy(blocks(held_out, 0, 0, SHAPES[model].longest)[:8]).long()
    files, tokenizer = read_snapshot(), load_tokenizer()
    documents = encode_files(tokenizer, training_files(files, model))
    held_out = encode_files(tokenizer, [file for file in files if file.held_out])
    return documents, torch.from_numpy(blocks(held_out, 0, 0)[:8]).long()


def train(run: Run, model: LlamaForCausalLM, tools: list[torch.optim.Optimizer], options: argparse.Namespace) -> None:
    """Runs to the last step or until it is asked to stop; changes model, tools and run in place."""
    documents, sample = prepare(run.model, run.seed)
    loss_of, stopping, losses = make_loss(model), Stop(), []
    compiled = torch.compile(loss_of, dynamic=False)
    started = time.monotonic() - run.seconds
    with progress_bar() as bar:
        task = bar.add_task(options.run, total=None, completed=run.step, loss="")
        for rows in batches(documents, run.seed, run.step, run.rows, run.longest):
            last_step = math.ceil(budget(options) / (run.rows * run.longest))
            length = sequence_length(run.step, last_step, run.longest)
            set_rate(tools, run.rate * scale(run.step, last_step))
            losses.append(train_step(compiled, rows, length, tools))
            run.step, run.seconds = run.step + 1, time.monotonic() - started
            bar.update(task, total=last_step, completed=run.step, loss=f"{losses[-1]:.3f}")
            ending = run.step >= last_step or stopping.asked
            if ending or run.step % CHECK_EVERY == 0:
                report(run, losses, held_out_loss(loss_of, sample))
                save(RUNS / options.run, run, model, tools)
                losses = []
            if ending:
                break


def budget(options: argparse.Namespace) -> int:
    """Tokens to train for; a number in the run's file `tokens` replaces the option while it runs."""
    file = RUNS / options.run / "tokens"
    return int(file.read_text()) if file.exists() else int(options.tokens)


def progress_bar() -> Progress:
    """Steps, the last loss and the time that is left."""
    columns = Progress.get_default_columns()[:2]
    return Progress(*columns, MofNCompleteColumn(), TextColumn("{task.fields[loss]}"), TimeRemainingColumn())


def report(run: Run, losses: list[float], held_out: float) -> None:
    """Adds a point to the curve and prints it, because a log file shows no progress bar."""
    mean = sum(losses) / len(losses)
    run.curve.append({"tokens": run.tokens, "seconds": round(run.seconds), "train": mean, "held_out": held_out})
    speed = run.tokens / run.seconds
    print(f"{run.tokens} tokens: train {mean:.4f}, held-out {held_out:.4f}; {speed:.0f} tokens/s", flush=True)


class Stop:
    """Turns the first interrupt or termination signal into a request, so that the last step is saved."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, self._ask)

    def _ask(self, *_: object) -> None:
        self.asked = True


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, choices=sorted(SHAPES))
    parser.add_argument("--tokens", type=int, required=True, help="budget; its second half decays")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=5e-3)
    parser.add_argument("--rows", type=int, default=4, help="sequences of the model's full length per step")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help="continue the checkpoint and its seed")
    parser.add_argument("--run", help="folder below zoo/runs; default: the model's name")
    options = parser.parse_args()
    options.run = options.run or options.model
    return options


def restart(run: Run, options: argparse.Namespace) -> Run:
    """The run under this command's batch and rate; the data goes on where it stopped."""
    command = " ".join(["python -m zoo.train", *sys.argv[1:]])
    step = run.tokens // (options.rows * run.longest)
    return replace(
        run, step=step, rows=options.rows, rate=options.rate, commands=[*run.commands, f"{run.tokens}: {command}"]
    )


def main() -> None:
    """Builds or resumes, trains, and exports the weights when the budget is reached."""
    options = parse()
    torch.set_num_threads(options.threads)
    folder = RUNS / options.run
    folder.mkdir(parents=True, exist_ok=True)
    model = build(options.model, options.seed)
    install(model)
    tools = optimisers(model, options.rate)
    run = (
        load(folder, model, tools)
        if options.resume
        else Run(options.model, options.seed, longest=SHAPES[options.model].longest)
    )
    run = restart(run, options)
    train(run, model, tools, options)
    if run.tokens >= budget(options):
        export(options.model, model.state_dict(), WEIGHTS / options.model)


if __name__ == "__main__":
    main()
