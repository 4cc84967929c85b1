"""Single tokens as text and as bytes, for log-probabilities and the playground."""

import re
from functools import cache
from typing import Any

FALLBACK = re.compile(r"<0x([0-9A-F]{2})>")  # how SentencePiece models write a byte that is no character
BROKEN = "\ufffd"


def token_text(tokenizer: Any, token: int) -> str:
    r"""The token's text; `bytes:\xe2\x80` for a part of a character, as OpenAI writes it."""
    if tokenizer is None:
        return ""
    text: str = tokenizer.decode([token], skip_special_tokens=False, clean_up_tokenization_spaces=False)
    if BROKEN not in text:
        return text
    raw = _bytes(tokenizer.convert_ids_to_tokens(token))
    return text if raw is None else "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


def token_bytes(tokenizer: Any, token: int) -> list[int] | None:
    """The token's UTF-8 bytes, or None where they cannot be known."""
    text = token_text(tokenizer, token)
    if text.startswith("bytes:\\x"):
        return [int(byte, 16) for byte in text.split("\\x")[1:]]
    return None if BROKEN in text else list(text.encode())


def _bytes(token: str) -> list[int] | None:
    """The bytes that a vocabulary's entry stands for, in byte-level vocabularies and those with byte fallback."""
    if found := FALLBACK.fullmatch(token):
        return [int(found[1], 16)]
    alphabet = _alphabet()
    return [alphabet[character] for character in token] if all(one in alphabet for one in token) else None


@cache
def _alphabet() -> dict[str, int]:
    """How byte-level vocabularies write bytes: printable Latin-1 as itself, the others as characters from 256 on (GPT-2)."""
    printable = [*_range("!", "~"), *_range("¡", "¬"), *_range("®", "ÿ")]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + rank): byte for rank, byte in enumerate(others)}


def _range(first: str, last: str) -> range:
    return range(ord(first), ord(last) + 1)
