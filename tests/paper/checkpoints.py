"""Stand-ins for the checkpoints that the paper's configs name: same class, same rows of logits, same size of tokenizer.

They are written to folders called as the checkpoints are on the hub. transformers looks for a folder before it asks the
hub, so in their parent folder a config file loads as it stands. The weights of all models of one class are cut from one
random model, with noise, so that members agree now and then. Rows of padding are loud: a sampler that looks at them takes
them.
"""

import functools
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tests import tiny
from tests.paper import tokenizers

HIDDEN = 16
WIDTH = 64  # of the feed-forward layers; the smaller member of a pair has less
NOISE = {"llama": 0.03, "qwen2": 0.04, "opt": 0.01}  # after which some greedy choices agree, and some do not
LOUD = 5.0


@dataclass(frozen=True)
class Checkpoint:
    """What a test has to know of a checkpoint. `rows` are those of its logits, `billions` its parameters."""

    architecture: str
    family: str
    rows: int
    billions: float
    context: int = 4096

    @property
    def tokens(self) -> int:
        """The size of its tokenizer."""
        return len(tokenizers.of(self.family))


CHECKPOINTS = {
    "meta-llama/Llama-2-7b-hf": Checkpoint("llama", "llama-2", 32_000, 6.7),
    "lmsys/vicuna-7b-v1.5": Checkpoint("llama", "llama-2", 32_000, 6.7),
    "JackFram/llama-68m": Checkpoint("llama", "llama-2", 32_000, 0.068, context=2048),
    "meta-llama/Llama-3.1-8B-Instruct": Checkpoint("llama", "llama-3", 128_256, 8.0, context=131_072),
    "meta-llama/Llama-3.2-1B": Checkpoint("llama", "llama-3", 128_256, 1.2, context=131_072),
    "Qwen/Qwen2.5-1.5B-Instruct": Checkpoint("qwen2", "qwen", 151_936, 1.5, context=32_768),
    "Qwen/Qwen2.5-Coder-1.5B-Instruct": Checkpoint("qwen2", "qwen", 151_936, 1.5, context=32_768),
    "Qwen/Qwen2.5-Math-1.5B": Checkpoint("qwen2", "qwen", 151_936, 1.5),
    "Qwen/Qwen2.5-3B-Instruct": Checkpoint("qwen2", "qwen", 151_936, 3.1, context=32_768),
    "Qwen/Qwen2.5-Coder-3B-Instruct": Checkpoint("qwen2", "qwen", 151_936, 3.1, context=32_768),
    "Qwen/Qwen2.5-7B-Instruct": Checkpoint("qwen2", "qwen", 152_064, 7.6, context=32_768),
    "facebook/opt-13b": Checkpoint("opt", "opt", 50_272, 12.9, context=2048),
    "facebook/opt-125m": Checkpoint("opt", "opt", 50_272, 0.125, context=2048),
}
MOST_ROWS = {"llama": 128_256, "qwen2": 152_064, "opt": 50_272}


def write(name: str, hub: Path) -> None:
    """The stand-in for this checkpoint, as a folder below `hub`; written once."""
    folder = hub / name
    if folder.exists():
        return
    build(name).save_pretrained(folder)
    saved = hub / CHECKPOINTS[name].family
    if not saved.exists():
        tokenizers.of(CHECKPOINTS[name].family).save_pretrained(saved)
    shutil.copytree(saved, folder, dirs_exist_ok=True)


def build(name: str) -> Any:
    """The stand-in: cut from the common random model, with noise of its own and loud rows of padding."""
    checkpoint = CHECKPOINTS[name]
    width = WIDTH if checkpoint.billions > 1.3 else WIDTH - 8
    model = _random(checkpoint.architecture, checkpoint.rows, width, checkpoint.context)
    common = dict(_common(checkpoint.architecture).named_parameters())
    noise, generator = NOISE[checkpoint.architecture], torch.Generator().manual_seed(list(CHECKPOINTS).index(name))
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.copy_(common[key][tuple(slice(size) for size in parameter.shape)])
            if parameter.dim() > 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * noise * parameter.std())
        model.get_output_embeddings().weight[checkpoint.tokens :] *= LOUD
    return model


@functools.cache
def _common(architecture: str) -> Any:
    return _random(architecture, MOST_ROWS[architecture], WIDTH, 131_072)


def _random(architecture: str, rows: int, width: int, context: int) -> Any:
    """Not tied, though some of the checkpoints are: a random model that is tied repeats its last token."""
    sizes = {"vocab_size": rows, "hidden_size": HIDDEN, "max_position_embeddings": context}
    widths = (
        {"ffn_dim": width, "word_embed_proj_dim": HIDDEN} if architecture == "opt" else {"intermediate_size": width}
    )
    return tiny.build(architecture, **sizes, **widths, tie_word_embeddings=False)
