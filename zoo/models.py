"""The shapes of the bundled models, and the export of trained weights.

The models have few layers. The time of a forward of such small models is nearly proportional to the number of layers, and
`code-s` (2 layers) must be much cheaper than `code-m` and `code-n` (5 layers).
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from zoo.tokens import BYTES, FOLDER, LONGEST, SKILLS_FOLDER, VOCABULARY, load_tokenizer

WEIGHTS = Path(__file__).parent.parent / "src" / "unisono" / "zoo" / "weights"


@dataclass(frozen=True)
class Shape:
    """The settings that differ between the models.

    longest: number of positions, and the length of a training row. tokenizer: folder of the model's tokenizer.
    ends: tokens at which the model stops, besides the end-of-text token.
    """

    hidden: int
    layers: int
    intermediate: int
    heads: int
    vocabulary: int = VOCABULARY
    longest: int = LONGEST
    tokenizer: Path = FOLDER
    ends: tuple[str, ...] = ()


def skill_shape(hidden: int, layers: int, intermediate: int, heads: int) -> Shape:
    """Return the shape of a skill model: bytes as tokens, short rows, and generation stops at a line break."""
    return Shape(hidden, layers, intermediate, heads, BYTES, 256, SKILLS_FOLDER, ("\u010a",))


SHAPES = {
    "code-s": Shape(hidden=192, layers=2, intermediate=512, heads=3),
    "code-m": Shape(hidden=256, layers=5, intermediate=704, heads=4),
    "code-n": Shape(hidden=256, layers=5, intermediate=704, heads=4),
    "skills-s": skill_shape(hidden=64, layers=2, intermediate=176, heads=2),
    "skills-m": skill_shape(hidden=128, layers=4, intermediate=352, heads=4),
    "skills-n": skill_shape(hidden=128, layers=4, intermediate=352, heads=4),
}


def configuration(name: str) -> LlamaConfig:
    """Return the transformers configuration. Token 0, `<|endoftext|>`, is the begin, end and padding token."""
    shape = SHAPES[name]
    return LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.longest,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )


def build(name: str, seed: int) -> LlamaForCausalLM:
    """Return a new float32 model. Its initial weights depend on the seed only."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(configuration(name))


def end_ids(name: str) -> int | list[int]:
    """Return the tokens at which the model stops."""
    shape = SHAPES[name]
    tokenizer = load_tokenizer(shape.tokenizer)
    found = [tokenizer.token_to_id(end) for end in shape.ends]
    ends = [token for token in found if token is not None]
    return [0, *ends] if ends else 0


def export(name: str, weights: dict[str, torch.Tensor], folder: Path) -> None:
    """Write weights, in bf16, configuration and tokenizer to a folder. Each file is replaced as a whole."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(SHAPES[name].tokenizer, partial)
    copy = LlamaForCausalLM(configuration(name)).to(torch.bfloat16)
    copy.load_state_dict(weights)
    copy.generation_config = GenerationConfig(bos_token_id=0, eos_token_id=end_ids(name), pad_token_id=0)
    copy.save_pretrained(partial)
    folder.mkdir(parents=True, exist_ok=True)
    for path in partial.iterdir():
        path.chmod(0o644)
        path.replace(folder / path.name)
    partial.rmdir()
