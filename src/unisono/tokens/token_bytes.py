"""The exact bytes of tokens in byte-level and SentencePiece vocabularies. Bytes in other vocabularies are unknown."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary, proxy

FALLBACK = re.compile(r"<0x([0-9A-Fa-f]{2})>")  # a single byte in SentencePiece models
PROBES = ("def f(x):\n    return {'naïve': x[0]}  # probe\n\n", "The quick brown fox, 12345!", "日本語 🙂 e\u0301 ﬁ")
SAMPLES = 256  # number of tokens that are decoded to check a table
PARTS = {"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"}  # types of steps in SentencePiece decoders

Spell = Callable[[str], bytes]


class TokenBytes:
    """A table of the bytes of a tokenizer's tokens. An entry is computed when the entry is first read.

    The rule that converts a token to bytes is derived from the tokenizer's decoder. The rule is checked once with test
    texts and sampled tokens: the joined bytes of the tokens must equal the text, except for a leading space. If the
    check fails, the bytes of all tokens are unknown.

    Args:
        tokenizer: a tokenizer of transformers. Only a weak reference to the tokenizer is kept.

    Attributes:
        special: id -> name of each special token. A special token has no text.
        exact: whether the bytes of tokens are known.
    """

    def __init__(self, tokenizer: Any) -> None:
        added = getattr(tokenizer, "added_tokens_decoder", {})
        self.special: Mapping[int, str] = {index: token.content for index, token in added.items() if token.special}
        self._tokenizer = proxy(tokenizer)
        decoder = getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None)
        self._spell = None if decoder is None else _spell(_flat(json.loads(decoder.__getstate__())))
        level = self._spell is _byte_level  # added tokens do not use the byte alphabet
        self._added: dict[int, bytes] = {index: token.content.encode() for index, token in added.items() if level}
        self._known: dict[int, bytes | None] = {}
        self.exact = self._spell is not None and self._holds()

    def spelled(self, token: int) -> bytes | None:
        """Return the bytes of a token; None for a special token, for an id without a token, or if `exact` is False."""
        if not self.exact:
            return None
        if token not in self._known:
            self._known[token] = self._found(token)
        return self._known[token]

    def _found(self, token: int) -> bytes | None:
        if token in self.special:
            return None
        if token in self._added:
            return self._added[token]
        piece: str | None = self._tokenizer.convert_ids_to_tokens(token)
        return None if piece is None or self._spell is None else self._spell(piece)

    def _holds(self) -> bool:
        size = len(self._tokenizer)
        sampled = [token for token in range(0, size, max(1, size // SAMPLES)) if token not in self._added]
        texts = [(probe, self._tokenizer.encode(probe, add_special_tokens=False)) for probe in PROBES]
        return all(self._comes_back(text, tokens) for text, tokens in [*texts, (None, sampled)])

    def _comes_back(self, text: str | None, tokens: Sequence[int]) -> bool:
        """Return whether the joined bytes of the tokens equal `text` or the text that the tokenizer decodes.

        Spaces at the beginning may differ. If `text` is None, only the decoded text is compared. Then tokens whose
        bytes are not valid UTF-8 are left out.
        """
        pairs = [(token, spelled) for token in tokens if (spelled := self._found(token)) is not None]
        if text is None:
            pairs = [(token, spelled) for token, spelled in pairs if is_text(spelled)]
        joined = b"".join(spelled for _, spelled in pairs).decode(errors="replace")
        if text is not None and joined in (text, " " + text):
            return True
        kept = [token for token, _ in pairs]
        decoded = self._tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return joined.endswith(decoded) and not joined.removesuffix(decoded).strip(" ")


_tables: WeakKeyDictionary[Any, TokenBytes] = WeakKeyDictionary()


def table(tokenizer: Any) -> TokenBytes:
    """Return the table of token bytes for a tokenizer. Later calls for the same tokenizer return the same table."""
    if tokenizer not in _tables:
        _tables[tokenizer] = TokenBytes(tokenizer)
    return _tables[tokenizer]


def is_text(spelled: bytes) -> bool:
    """Return whether these bytes are valid UTF-8, that is, contain only whole characters."""
    try:
        spelled.decode()
    except UnicodeDecodeError:
        return False
    return True


def _flat(step: dict[str, Any]) -> list[dict[str, Any]]:
    return [part for each in step["decoders"] for part in _flat(each)] if step["type"] == "Sequence" else [step]


def _spell(steps: Sequence[dict[str, Any]]) -> Spell | None:
    """Return a function that converts a vocabulary entry to bytes; None if a step of the decoder is not supported."""
    kinds = {step["type"] for step in steps}
    if "ByteLevel" in kinds:
        return _byte_level if kinds <= {"ByteLevel", "Fuse"} else None
    replaced = [(step["pattern"].get("String", ""), step["content"]) for step in steps if step["type"] == "Replace"]
    replaced += [(step["replacement"], " ") for step in steps if step["type"] == "Metaspace"]
    if not kinds or not kinds <= PARTS or any(len(old) != 1 for old, _ in replaced):
        return None

    def spell(piece: str) -> bytes:
        if "ByteFallback" in kinds and (found := FALLBACK.fullmatch(piece)):
            return bytes([int(found[1], 16)])
        for old, new in replaced:
            piece = piece.replace(old, new)
        return piece.encode()

    return spell


def _byte_level(piece: str) -> bytes:
    try:
        return bytes(map(_alphabet().__getitem__, piece))
    except KeyError:
        return piece.encode()


@cache
def _alphabet() -> dict[str, int]:
    """Return the byte of each character in GPT-2's byte alphabet.

    A printable character of Latin-1 represents the byte that is equal to its code. Characters with codes from 256 on
    represent the remaining bytes.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]  # ! to ~, ¡ to ¬, ® to ÿ
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + rank): byte for rank, byte in enumerate(others)}
