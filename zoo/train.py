"""Train one bundled model: `python -m zoo.train --model code-m --tokens 12000000 --seed 1`.

The learning rate rises (warmup), stays constant, and falls linearly to zero over the second half of the run. The order of
the data depends on the seed only, not on `--tokens`. So a checkpoint from the constant phase can be resumed with another
budget and then trains as if this budget had been given from the start.
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
from zoo.tokens import LONGEST, SKILLS_FOLDER, encode_texts, load_tokenizer

RUNS = Path(__file__).parent / "runs"
WARMUP_STEPS = 50
DECAY_SHARE = 0.5
LONG_SHARE = 0.2
CHECK_EVERY = 200
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Run:
    """The state of a training run besides weights and optimiser states."""

    model: str
    seed: int
    rows: int = 4  # of `longest` tokens per step
    rate: float = 5e-3  # the largest learning rate
    step: int = 0
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)  # "number of tokens seen before: command", one per start
    longest: int = LONGEST

    @property
    def tokens(self) -> int:
        return self.step * self.rows * self.longest


def blocks(documents: list[np.ndarray], seed: int, epoch: int, longest: int = LONGEST) -> np.ndarray:
    """Return the rows of one epoch, [rows, longest + 1]: shuffle and join the documents, cut at a random offset, shuffle."""
    generator = np.random.default_rng([seed, epoch])
    stream = np.concatenate([documents[i] for i in generator.permutation(len(documents))])
    start = int(generator.integers(longest))
    count = (len(stream) - start - 1) // longest
    rows: np.ndarray = stream[start + longest * generator.permutation(count)[:, None] + np.arange(longest + 1)]
    return rows


def batches(
    documents: list[np.ndarray], seed: int, first_step: int, size: int = 4, longest: int = LONGEST
) -> Iterator[Tensor]:
    """Yield batches of `size` rows without end. The first batch is the one of step `first_step`."""
    epoch = 0
    while True:
        rows = blocks(documents, seed, epoch, longest)
        steps = len(rows) // size
        for step in range(first_step, steps):
            yield torch.from_numpy(rows[step * size : (step + 1) * size]).long()
        first_step, epoch = max(0, first_step - steps), epoch + 1


def scale(step: int, last_step: int) -> float:
    """Return the factor of the learning rate: warmup, then 1, then linear decay to zero."""
    left = (last_step - step) / (DECAY_SHARE * last_step)
    return max(0.0, min(1.0, (step + 1) / WARMUP_STEPS, left))


def sequence_length(step: int, last_step: int, longest: int = LONGEST) -> int:
    """Return the length of sequences at a step. Short ones are cheaper; the last steps train the higher positions."""
    return longest if step >= (1 - LONG_SHARE) * last_step else longest // 2


def optimisers(model: nn.Module, rate: float) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices of the layers and AdamW for the rest. The loss falls faster than with AdamW alone."""
    named = list(model.named_parameters())
    matrices = [p for name, p in named if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in named if not (p.ndim == 2 and "embed" not in name)]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]


def make_loss(model: LlamaForCausalLM) -> Loss:
    """Return a function of inputs and targets that returns the mean loss in nats per token."""

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(input_ids=inputs, use_cache=False).logits
        return functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())

    return loss


def train_step(loss_of: Loss, rows: Tensor, length: int, tools: list[torch.optim.Optimizer]) -> float:
    """Cut the rows into sequences of `length`, update the weights once, and return the loss before the update."""
    loss = loss_of(rows[:, :-1].reshape(-1, length), rows[:, 1:].reshape(-1, length))
    loss.backward()  # type: ignore[no-untyped-call]
    for tool in tools:
        nn.utils.clip_grad_norm_([p for group in tool.param_groups for p in group["params"]], 1.0)
        tool.step()
        tool.zero_grad(set_to_none=True)
    return float(loss.item())


def set_rate(tools: list[torch.optim.Optimizer], rate: float) -> None:
    for tool in tools:
        for group in tool.param_groups:
            group["lr"] = rate


@torch.no_grad()
def held_out_loss(loss_of: Loss, rows: Tensor) -> float:
    """Return the loss on held-out rows in nats per token. It runs too seldom to be worth compiling."""
    return float(sum(loss_of(row[:, :-1], row[:, 1:]).item() for row in torch.split(rows, 1))) / len(rows)


def save(folder: Path, run: Run, model: nn.Module, tools: list[torch.optim.Optimizer]) -> None:
    """Replace the checkpoint as a whole, so that a crash leaves the old one; then write the curve."""
    state = {"run": asdict(run), "model": model.state_dict(), "tools": [tool.state_dict() for tool in tools]}
    torch.save(state, folder / "checkpoint.partial")
    (folder / "checkpoint.partial").replace(folder / "checkpoint.pt")
    (folder / "curve.json").write_text(json.dumps(asdict(run), indent=1) + "\n")


def load(folder: Path, model: nn.Module, tools: list[torch.optim.Optimizer]) -> Run:
    """Load weights and optimiser states that `save` wrote, and return the run to continue."""
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    model.load_state_dict(state["model"])
    for tool, saved in zip(tools, state["tools"], strict=True):
        tool.load_state_dict(saved)
    return Run(**state["run"])


def prepare(model: str, seed: int) -> tuple[list[np.ndarray], Tensor]:
    """Return the model's training documents and 8 fixed held-out rows."""
    if SHAPES[model].tokenizer == SKILLS_FOLDER:
        documents, held_out = skill_documents(model, seed)
        return documents, torch.from_numpy(blocks(held_out, 0, 0, SHAPES[model].longest)[:8]).long()
    files, tokenizer = read_snapshot(), load_tokenizer()
    documents = encode_texts(tokenizer, [file.text for file in training_files(files, model)])
    held_out = encode_texts(tokenizer, [file.text for file in files if file.held_out])
    return documents, torch.from_numpy(blocks(held_out, 0, 0)[:8]).long()


def train(run: Run, model: LlamaForCausalLM, tools: list[torch.optim.Optimizer], options: argparse.Namespace) -> None:
    """Train to the last step, or until a signal asks to stop. `model`, `tools` and `run` are changed in place."""
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
    """Return the number of tokens to train for. The file `tokens` in the run's folder overrides the option at any time."""
    file = RUNS / options.run / "tokens"
    return int(file.read_text()) if file.exists() else int(options.tokens)


def progress_bar() -> Progress:
    columns = Progress.get_default_columns()[:2]
    return Progress(*columns, MofNCompleteColumn(), TextColumn("{task.fields[loss]}"), TimeRemainingColumn())


def report(run: Run, losses: list[float], held_out: float) -> None:
    """Add a point to the curve and print the point, because a log file shows no progress bar."""
    mean = sum(losses) / len(losses)
    run.curve.append({"tokens": run.tokens, "seconds": round(run.seconds), "train": mean, "held_out": held_out})
    speed = run.tokens / run.seconds
    print(f"{run.tokens} tokens: train {mean:.4f}, held-out {held_out:.4f}; {speed:.0f} tokens/s", flush=True)


class Stop:
    """Remember an interrupt or termination signal in `asked`, so that training can save its last step before it ends."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, self._ask)

    def _ask(self, *_: object) -> None:
        self.asked = True


def parse() -> argparse.Namespace:
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
    """Return the run with the batch size and rate of this command. The data continues where the run stopped."""
    command = " ".join(["python -m zoo.train", *sys.argv[1:]])
    step = run.tokens // (options.rows * run.longest)
    return replace(
        run, step=step, rows=options.rows, rate=options.rate, commands=[*run.commands, f"{run.tokens}: {command}"]
    )


def main() -> None:
    """Start or resume a run, train, and export the weights when the budget is reached."""
    options = parse()
    torch.set_num_threads(options.threads)
    folder = RUNS / options.run
    folder.mkdir(parents=True, exist_ok=True)
    model = build(options.model, options.seed)
    install(model)
    tools = optimisers(model, options.rate)
    new = Run(options.model, options.seed, longest=SHAPES[options.model].longest)
    run = restart(load(folder, model, tools) if options.resume else new, options)
    train(run, model, tools, options)
    if run.tokens >= budget(options):
        export(options.model, model.state_dict(), WEIGHTS / options.model)


if __name__ == "__main__":
    main()
