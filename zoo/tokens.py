"""Train the tokenizer that the code models share, and turn files into token arrays.

Line breaks and indentation are separate tokens and are never merged with a word or a bracket. So a prompt may end after
`):`, after the line break or after the indentation and still look like training text. A text has about 5% more tokens
than with a split like that of GPT-4.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from zoo.corpus import read_snapshot, training_files

VOCABULARY = 4096
LONGEST = 1024
END = "<|endoftext|>"
SPLIT = r" ?\p{L}+|_\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\n+| {2,}|\s+"
FOLDER = Path(__file__).parent / "runs" / "tokenizer"
SKILLS_FOLDER = Path(__file__).parent / "runs" / "tokenizer-skills"
BYTES = 257  # vocabulary size: every byte and END, without merges

# Base models know no roles. So messages of the assistant are written as code, and all other messages as comments.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- if message['role'] == 'assistant' -%}
{{- '\\n' + message['content'] + '\\n\\n' -}}
{%- else -%}
{{- '# ' + message['content'] | replace('\\n', '\\n# ') + '\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '\\n' -}}{%- endif -%}
"""


def train_tokenizer(texts: Iterable[str], vocabulary: int = VOCABULARY) -> Tokenizer:
    """Return a byte-level BPE tokenizer without normalisation: encoding and then decoding gives the same text."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(SPLIT), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save_tokenizer(
    tokenizer: Tokenizer, folder: Path, longest: int = LONGEST, chat_template: str = CHAT_TEMPLATE
) -> None:
    """Write the files that `AutoTokenizer.from_pretrained(folder)` reads."""
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END,
        eos_token=END,
        pad_token=END,
        model_max_length=longest,
        clean_up_tokenization_spaces=False,
        chat_template=chat_template,
    )
    wrapped.save_pretrained(folder)


def load_tokenizer(folder: Path = FOLDER) -> Tokenizer:
    """Return the tokenizer as an object of the `tokenizers` library."""
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def encode_texts(tokenizer: Tokenizer, texts: list[str]) -> list[np.ndarray]:
    """Return one array of tokens per text. Each begins with the end-of-text token, which separates documents."""
    end = tokenizer.token_to_id(END)
    encodings = tokenizer.encode_batch_fast(texts)
    return [np.array([end, *encoding.ids], dtype=np.int32) for encoding in encodings]


def main() -> None:
    """Train the tokenizer on the training files of code-s, the model that reads all quarters of the corpus."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    texts = [file.text for file in training_files(read_snapshot(), "code-s")]
    save_tokenizer(train_tokenizer(texts), FOLDER)


if __name__ == "__main__":
    main()
