"""Tiny random models of real architectures, and a tiny tokenizer: built in memory, nothing is downloaded.

The weights are drawn so that laws are peaked and greedy text is varied: with the usual small initialisation, most of these
models repeat one token, and every schedule would pass every test.
"""

import copy
import functools
import json
from collections.abc import Callable, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors, trainers
from tokenizers import models as tokenizer_models
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    DynamicCache,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    OPTConfig,
    Phi3Config,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from tests.laws import law_of
from unisono import Ensemble, SamplingParams
from unisono.sampling.warp import Warp

VOCABULARY = 199
WINDOW = 16  # of the architectures with sliding attention; tests run well beyond it
CONTEXT = 512
GREEDY = SamplingParams(max_tokens=64, temperature=0)
SPECULATIVE = ("parallel", "speculative:4", "cos:4,1", "cos:1,1", "cos:2,3")  # schedules for two members
# One schedule of each kind, for two members
SCHEDULES = ("standard", "parallel", "speculative:2", "cos:2,1", "relay:2", "risky:2", "lookup:2", "auto")

COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
GROUPED: dict[str, Any] = {**COMMON, "intermediate_size": 128, "num_key_value_heads": 2}
GPT2_SIZES: dict[str, Any] = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT}

CONFIGS: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaConfig(**GROUPED),
    "qwen2": lambda: Qwen2Config(**GROUPED),
    "qwen3": lambda: Qwen3Config(**GROUPED, head_dim=16),
    "mistral": lambda: MistralConfig(**GROUPED, sliding_window=WINDOW),
    "gemma3": lambda: Gemma3TextConfig(
        **{**GROUPED, "num_hidden_layers": 3},
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=WINDOW,
        tie_word_embeddings=False,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "gpt2": lambda: GPT2Config(vocab_size=VOCABULARY, **GPT2_SIZES, bos_token_id=None, eos_token_id=None),
    "opt": lambda: OPTConfig(**COMMON, ffn_dim=128, word_embed_proj_dim=64),
    "phi3": lambda: Phi3Config(**GROUPED),
    "mixtral": lambda: MixtralConfig(**GROUPED, num_local_experts=4, num_experts_per_tok=2, sliding_window=None),
}
ARCHITECTURES = tuple(CONFIGS)
LAST_NORMS = ("model.norm.weight", "ln_f.weight", "final_layer_norm.weight")
GAIN = 3.0
# Noise after which two copies agree on about two thirds of the greedy choices
AMOUNTS = dict.fromkeys(ARCHITECTURES, 0.05) | {"gpt2": 0.1, "opt": 0.1, "mixtral": 0.03, "gemma3": 0.05}


def build(architecture: str, seed: int = 0, **changes: Any) -> Any:
    """A random model; `changes` go to its configuration."""
    config = CONFIGS[architecture]()
    for name, value in changes.items():
        setattr(config, name, value)
    return from_config(config, seed)


def from_config(config: Any, seed: int = 0) -> Any:
    """A random model with this configuration."""
    return randomise(AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval(), seed)


def randomise(model: Any, seed: int = 0) -> Any:
    """Draw all matrices anew with spread .15, and make the last norm louder, which sharpens the laws.

    Gemma multiplies its embeddings by the root of the width: small ones, not tied to the output, keep the residual stream
    from saying little else than the last token, over and over.
    """
    gemma = model.config.model_type.startswith("gemma")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(LAST_NORMS):
                parameter.fill_(GAIN - gemma)
            elif parameter.dim() > 1:
                parameter.normal_(0, 0.05 if gemma and "embed" in name else 0.15, generator=generator)
            elif "norm" not in name.lower() and "ln_" not in name:
                parameter.normal_(0, 0.02, generator=generator)
    return model


def blend(model: Any, amount: float, seed: int) -> Any:
    """A copy with noise of `amount` times the spread of the weights: it agrees with the original now and then."""
    other = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in other.parameters():
            if parameter.dim() > 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * amount * parameter.std())
    return other


@functools.cache
def models(architecture: str, count: int = 2, **changes: Any) -> tuple[Any, ...]:
    """The same models for all tests: a random one, and noisy copies of it."""
    first = build(architecture, **changes)
    noise = AMOUNTS[architecture]
    return first, *(blend(first, noise * (1 - 0.4 * index), seed=index + 1) for index in range(count - 1))


CORPUS = (
    "def f(x):\n    return {'naïve': x[0], '日本': 3.14}  # probe\n\nThe quick brown fox, 12345!",
    "for i in range(10):\n    print(i)\n",
    "héllo wörld 🙂🙂 日本語",
)
TEXT_VOCABULARY = 300  # all bytes, two special tokens, some merges: any byte sequence can come out
CHAT_TEMPLATE = (
    "{% for message in messages %}<s>{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant: {% endif %}"
)


def tokenizer(
    corpus: Sequence[str] = CORPUS, size: int = TEXT_VOCABULARY, chat_template: str | None = None, start: bool = False
) -> Any:
    """A byte-level BPE tokenizer, as GPT-2's and Qwen's are, with `<s>` (0) and `</s>` (1).

    With `start` it puts `<s>` before each text, as Llama's does.
    """
    core = Tokenizer(tokenizer_models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    if start:
        core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<s>", "</s>"],
        show_progress=False,
    )
    core.train_from_iterator(list(corpus) * 4, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", chat_template=chat_template or CHAT_TEMPLATE
    )


def ensemble(members: Sequence[Any], tokens: Any = None, **options: Any) -> Ensemble:
    """An ensemble of loaded models; with the tokenizer `tokens` it speaks text, without it token ids."""
    return Ensemble.load([{"model": model, "tokenizer": tokens} for model in members], **options)


@functools.cache
def text_models(architecture: str = "llama", count: int = 2) -> tuple[Any, ...]:
    """Models that speak (nonsense) text: mostly readable, now and then a broken character."""
    tokens = tokenizer()
    first = build(architecture, vocab_size=TEXT_VOCABULARY)
    unreadable = [index for token, index in tokens.get_vocab().items() if not token.isascii() or index < 2]
    with torch.no_grad():
        first.lm_head.weight[unreadable] *= 0.7
    noise = AMOUNTS[architecture]
    return first, *(blend(first, noise * (1 - 0.4 * index), seed=index + 1) for index in range(count - 1))


@functools.cache
def text_ensemble(architecture: str = "llama", count: int = 2) -> Ensemble:
    """An ensemble that speaks text; the same for all tests, which must not change it."""
    return ensemble(text_models(architecture, count), tokenizer())


@torch.inference_mode()
def fresh_logits(model: Any, tokens: Sequence[int]) -> Tensor:
    """The logits [T, V] of a plain forward over all tokens, without a cache."""
    logits: Tensor = model(input_ids=torch.tensor([list(tokens)]), use_cache=False).logits[0]
    return logits.float()


@torch.inference_mode()
def transformers_greedy(model: Any, prompt: Sequence[int], count: int) -> list[int]:
    """What transformers itself generates at temperature 0."""
    ids = torch.tensor([list(prompt)])
    output = model.generate(ids, max_new_tokens=count, do_sample=False, pad_token_id=0)
    return list(output[0, len(prompt) :].tolist())


def plain_cache() -> DynamicCache:
    """transformers' own growing cache, without a limit by sliding windows."""
    return DynamicCache()


def with_merges(*pairs: str) -> Any:
    """The tiny tokenizer with more tokens, `a+b` each, merged in the order given; ids go by the alphabet."""
    core = json.loads(tokenizer().backend_tokenizer.to_str())
    for token in sorted(pair.replace("+", "") for pair in pairs):
        core["model"]["vocab"][token] = len(core["model"]["vocab"])
    core["model"]["merges"] += [pair.split("+") for pair in pairs]
    changed = Tokenizer.from_str(json.dumps(core))
    return PreTrainedTokenizerFast(tokenizer_object=changed, bos_token="<s>", eos_token="</s>")


def law(combination: Any, logits: Sequence[Tensor], temperature: float = 1.0) -> Tensor:
    """The law that a combination makes of the members' logits."""
    return law_of(combination, logits, Warp(temperature=temperature))


def metaspace_tokenizer() -> Any:
    """A tokenizer in the manner of SentencePiece: blanks belong to the word behind, and the first one is not printed."""
    core = Tokenizer(tokenizer_models.BPE(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=60, special_tokens=["<unk>"], show_progress=False)
    core.train_from_iterator(["a b c"] * 4, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core)


def reference_greedy(models: Sequence[Any], prompt: Sequence[int], count: int) -> list[int]:
    """The uniform mixture's greedy text, by forwards without a cache over the whole text so far."""
    tokens = list(prompt)
    for _ in range(count):
        laws = [fresh_logits(model, tokens)[-1].softmax(-1) for model in models]
        tokens.append(int(torch.stack(laws).mean(0).argmax()))
    return tokens[len(prompt) :]
