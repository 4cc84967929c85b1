"""The text and bytes of single tokens, alone and as parts of a text."""

from collections.abc import Sequence
from typing import Any

from unisono.tokens.detokenizer import Detokenizer
from unisono.tokens.token_bytes import is_text, table


def token_text(tokenizer: Any, token: int) -> str:
    r"""Return the text of one token: a special token's name; `bytes:\xe2\x80` for a part of a character, as OpenAI.

    A leading space is kept. If the bytes are unknown, the tokenizer's own decoding is returned.
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
    """Return the token's bytes, for a special token the bytes of its name; None if they are unknown."""
    known = table(tokenizer)
    if not known.exact:
        return None
    spelled = special_name(tokenizer, token).encode() or known.spelled(token)
    return None if spelled is None else list(spelled)


def special_name(tokenizer: Any, token: int) -> str:
    """Return the name of a special token; an empty text for any other token."""
    return "" if tokenizer is None else table(tokenizer).special.get(token, "")


def token_texts(tokenizer: Any, tokens: Sequence[int]) -> list[str]:
    """Return the text that each token adds, special tokens by name. The joined texts equal the decoded text."""
    detokenizer = Detokenizer(tokenizer, special=True)
    texts = [detokenizer.push(token) for token in tokens]
    return [*texts[:-1], texts[-1] + detokenizer.flush()] if texts else []


def parts(tokenizer: Any, text: str, tokens: Sequence[int]) -> list[str]:
    """Split a text that was encoded to these tokens into one part per token. The joined parts equal the text.

    A special token that is not written in the text has an empty part.
    """
    found, at = [], 0
    for token, added in zip(tokens, token_texts(tokenizer, tokens), strict=True):
        written = next((form for form in (added, added.removeprefix(" ")) if text.startswith(form, at)), None)
        if written is None:  # the tokenizer added this token or changed the text
            written = "" if special_name(tokenizer, token) else text[at : at + len(added)]
        found.append(written)
        at += len(written)
    return [*found[:-1], found[-1] + text[at:]] if found else []
