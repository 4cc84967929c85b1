"""Tokenizers as large as those of the paper's models, without their words: built in memory, nothing is downloaded.

What a vocabulary check and a decoder see is real: the number of base tokens and of added ones, the kind of splitting
(bytes or SentencePiece), and whether a token is put before each text. The tokens themselves are pairs, then triples, of
the alphabet, in order; only the first have merges, because reading 150,000 of them takes seconds.
"""

import functools
import itertools
import string
from collections.abc import Iterator, Sequence
from typing import Any

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

BLANK = "▁"
MERGES = 1000


def qwen() -> Any:
    """Qwen2.5's: 151,643 tokens from bytes, and 22 added ones."""
    named = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    return _byte_level([], 151_643, [*named, *_fillers(22 - len(named))], end="<|im_end|>")


def llama_3() -> Any:
    """Llama 3's: 128,000 tokens from bytes, and 256 added ones, of which the first opens each text."""
    named = ["<|begin_of_text|>", "<|end_of_text|>"]
    return _byte_level([], 128_000, [*named, *_fillers(256 - len(named))], named[0], named[1])


def opt() -> Any:
    """OPT's: 50,265 tokens from bytes, special ones first; `</s>` opens each text, and ends it."""
    return _byte_level(["<s>", "<pad>", "</s>", "<unk>"], 50_265, [], "</s>", "</s>")


def llama_2() -> Any:
    """Llama 2's: 32,000 pieces of SentencePiece, of which the first are special, and the next are bytes."""
    special = ["<unk>", "<s>", "</s>"]
    alphabet = [BLANK, *string.ascii_letters, *string.digits, *string.punctuation]
    fixed = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *alphabet]
    vocabulary, merges = _merged(fixed, alphabet, 32_000)
    core = Tokenizer(BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    core.normalizer = normalizers.Sequence([normalizers.Prepend(BLANK), normalizers.Replace(" ", BLANK)])
    joined = [decoders.Replace(BLANK, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    core.decoder = decoders.Sequence(joined)
    return _finished(core, special, "<s>", "</s>")


FAMILIES = {"qwen": qwen, "llama-3": llama_3, "opt": opt, "llama-2": llama_2}


@functools.cache
def of(family: str) -> Any:
    """The tokenizer of a family of models; the same for all tests, which must not change it."""
    return FAMILIES[family]()


def _byte_level(
    special: Sequence[str], size: int, added: Sequence[str], start: str | None = None, end: str = ""
) -> Any:
    """A tokenizer in GPT-2's manner: `special` ids, bytes and merges up to `size`, then `added` ids."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary, merges = _merged([*special, *alphabet], alphabet, size)
    core = Tokenizer(BPE(vocabulary, merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return _finished(core, [*special, *added], start, end)


def _merged(fixed: Sequence[str], alphabet: Sequence[str], size: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A vocabulary of this size, `fixed` tokens first, and the merges that make the first of the others."""
    pairs = list(itertools.islice(_products(alphabet), size - len(fixed)))
    tokens = [*fixed, *(left + right for left, right in pairs)]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    assert len(vocabulary) == size
    return vocabulary, pairs[:MERGES]


def _products(alphabet: Sequence[str]) -> Iterator[tuple[str, str]]:
    """All pairs, then all triples as a pair and one more."""
    pairs = list(itertools.product(alphabet, alphabet))
    return itertools.chain(pairs, ((first + second, third) for (first, second) in pairs for third in alphabet))


def _finished(core: Tokenizer, added: Sequence[str], start: str | None, end: str) -> Any:
    core.add_special_tokens(list(added))
    if start is not None:
        core.post_processor = processors.TemplateProcessing(
            single=f"{start} $A", special_tokens=[(start, core.token_to_id(start))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token=start, eos_token=end)


def _fillers(count: int) -> list[str]:
    return [f"<|added_{index}|>" for index in range(count)]
