"""What every error of bad input has in common."""

from collections.abc import Callable

import pytest

from unisono.errors import UnisonoError


def one_line(error: type[UnisonoError], call: Callable[[], object]) -> str:
    """The message of the error that the call raises: of exactly this class, and one line."""
    with pytest.raises(UnisonoError) as caught:
        call()
    assert type(caught.value) is error
    message = str(caught.value)
    assert "\n" not in message
    assert message.strip() == message != ""
    assert isinstance(caught.value, ValueError)
    return message
