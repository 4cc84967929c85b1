"""The text and bytes of single tokens, and a function that splits a text into one part per token."""

from collections.abc import Sequence
from typing import Any

from unisono.tokens.detokenizer import Detokenizer
from unisono.tokens.token_bytes import is_text, table


def token_text(tokenizer: Any, token: int) -> str:
    r"""Return the text of one token; for a special token, return its name.

    A token with an incomplete character is written in the form `bytes:\xe2\x80`, as in OpenAI's API. A leading space is
    kept. If the bytes of the token are unknown, return the text that the tokenizer decodes.
    """
    if tokenizer is None:
        return ""
    spelled = token_bytes(tokenizer, token)
    if spelled is None:
        text: str = tokenizer.decode([token], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text
    raw = bytes(spelled)
    return raw.decode() if is_text(raw) else "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


def token_bytes(tokenizer: Any, token: int) -> list[int] | None:
    """Return the bytes of a token; for a special token, return the bytes of its name. Return None for unknown bytes."""
    known = table(tokenizer)
    if not known.exact:
        return None
    spelled = special_name(tokenizer, token).encode() or known.spelled(token)
    return None if spelled is None else list(spelled)


def special_name(tokenizer: Any, token: int) -> str:
    """Return the name of a special token; an empty text for any other token."""
    return "" if tokenizer is None else table(tokenizer).special.get(token, "")


def token_texts(tokenizer: Any, tokens: Sequence[int]) -> list[str]:
    """Return the text that each token adds. A special token adds its name. The joined texts equal the decoded text."""
    detokenizer = Detokenizer(tokenizer, special=True)
    texts = [detokenizer.push(token) for token in tokens]
    return [*texts[:-1], texts[-1] + detokenizer.flush()] if texts else []


def parts(tokenizer: Any, text: str, tokens: Sequence[int]) -> list[str]:
    """Split a text into one part per token, and return the parts. The joined parts equal the text.

    Args:
        tokens: the tokens of the text. A special token has an empty part if its name is not in the text.
    """
    found, at = [], 0
    for token, added in zip(tokens, token_texts(tokenizer, tokens), strict=True):
        written = next((form for form in (added, added.removeprefix(" ")) if text.startswith(form, at)), None)
        if written is None:  # the tokenizer added this token or changed the text
            written = "" if special_name(tokenizer, token) else text[at : at + len(added)]
        found.append(written)
        at += len(written)
    return [*found[:-1], found[-1] + text[at:]] if found else []
