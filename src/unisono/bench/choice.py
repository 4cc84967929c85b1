"""One way to decode a case: a schedule, with an optional verification and an optional combination."""

from dataclasses import asdict, dataclass
from typing import Any

from unisono.decoding.verification import VERIFICATIONS
from unisono.errors import ConfigurationError

BASELINE = "standard"
PEER = "transformers:"


@dataclass(frozen=True)
class Choice:
    """One way to decode, written `SCHEDULE [VERIFICATION] [COMBINATION]`, for example `cos:1,6 block`.

    If the verification or the combination is None, the choice uses the value of the case. With a schedule
    `transformers:...`, another library decodes (see the module `peers`).
    """

    schedule: str
    verification: str | None = None
    combine: str | None = None

    @classmethod
    def parse(cls, text: object) -> "Choice":
        """Return the choice that a text describes.

        Raise ConfigurationError if `text` does not have the form of a choice.
        """
        words = text.split() if isinstance(text, str) else []
        rules = [word for word in words[1:] if word in ("auto", *VERIFICATIONS)]
        combinations = [word for word in words[1:] if word not in rules]
        if not words or len(rules) > 1 or len(combinations) > 1:
            raise ConfigurationError(
                f"a choice is SCHEDULE [VERIFICATION] [COMBINATION], as in 'cos:1,4 block', not: {text!r}"
            )
        return cls(words[0], next(iter(rules), None), next(iter(combinations), None))

    @property
    def peer(self) -> bool:
        """Whether another library is used for decoding instead of unisono."""
        return self.schedule.startswith(PEER)

    @property
    def label(self) -> str:
        """The choice in the form that `parse` accepts."""
        return " ".join(filter(None, (self.schedule, self.verification, self.combine)))

    @property
    def overrides(self) -> dict[str, Any]:
        """The options of `Ensemble.generate` that replace the options of the case."""
        return {key: value for key, value in asdict(self).items() if value is not None}
