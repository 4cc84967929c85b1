"""Tiny tokenizers of the kinds that models have: byte-level BPE, SentencePiece in its forms, WordPiece. Built in memory."""

import functools
import json
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = [
    "the quick brown fox jumps over the lazy dog",
    "def f(x): return x",
    "hello world leading x",
    "naïve 日本 🙂",
] * 4
SPECIAL = ["<unk>", "<s>", "</s>", "<|im_end|>"]
TEMPLATE = (
    "{% for message in messages %}<s>[INST] {{ message.content }} [/INST]{% endfor %}"
    "{% if add_generation_prompt %}{% endif %}"
)


@functools.cache
def byte_level() -> Any:
    """As GPT-2's and Qwen's: any bytes, two texts of more than one token, special tokens, and an added token that is not."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, special_tokens=SPECIAL, show_progress=False
    )
    core.train_from_iterator(CORPUS, trainer)
    tokenizer = _finished(core)
    tokenizer.add_tokens(["<tool>"])
    return tokenizer


@functools.cache
def llama_2() -> Any:
    """SentencePiece BPE as Llama-2's: byte fallback, a blank before each text, which decoding strips."""
    core = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    joined = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    core.decoder = decoders.Sequence(joined)
    pieces = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=380, special_tokens=pieces, show_progress=False)
    core.train_from_iterator([text for text in CORPUS if text.isascii()], trainer)
    described = json.loads(core.to_str())
    described["added_tokens"] = [each for each in described["added_tokens"] if each["content"] in SPECIAL]
    core = Tokenizer.from_str(json.dumps(described))
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return _finished(core)


@functools.cache
def unigram() -> Any:
    """SentencePiece Unigram as T5's: blanks by Metaspace, and no bytes for unknown characters."""
    core = Tokenizer(models.Unigram())
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=80, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    core.train_from_iterator(CORPUS, trainer)
    return _finished(core)


@functools.cache
def wordpiece() -> Any:
    """As BERT's: its decoder puts blanks between words that no token has."""
    core = Tokenizer(models.WordPiece(unk_token="<unk>"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=SPECIAL, show_progress=False)
    core.train_from_iterator(CORPUS, trainer)
    return _finished(core)


KINDS = {"byte-level": byte_level, "llama-2": llama_2, "unigram": unigram, "wordpiece": wordpiece}


def _finished(core: Tokenizer) -> Any:
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>", chat_template=TEMPLATE
    )
