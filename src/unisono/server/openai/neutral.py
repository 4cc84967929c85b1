"""Fields that this server accepts and ignores, each with the accepted values.

Other servers, for example OpenAI's and vLLM's, define these fields. A field with an accepted value does not change the
answer. Any other value raises an error. The message of the error says what to send instead. A field is unknown if
neither these tables nor the schema contain the field.
"""

import difflib
import json
from collections.abc import Iterable
from typing import Any

from pydantic_core import PydanticCustomError

ANY = None  # a field with ANY accepts every value
LONGEST = 100  # characters of an unknown field's name that an error repeats
Values = tuple[object, ...]
Table = dict[str, tuple[Values | None, str]]  # by field: the accepted values, and advice for any other value


def _table(*groups: tuple[str, dict[str, Any]]) -> Table:
    return {name: (values, remedy) for remedy, fields in groups for name, values in fields.items()}


NULL, OFF, ON = (None,), (None, False), (None, True)
NONE: Values = (None, [])

SAMPLING = _table(
    ("", dict.fromkeys(
        ("user", "metadata", "store", "service_tier", "safety_identifier", "cache_salt", "spaces_between_special_tokens"),
        ANY,  # spaces_between_special_tokens has an effect only with slow tokenizers
    )),
    ("beams are not searched here; leave it out", {
        "use_beam_search": OFF, "early_stopping": OFF, "length_penalty": (None, 1),
    }),
    ("give n alone: every choice is returned", {"best_of": (None, 1)}),
    ("texts are not constrained here; leave it out and check the answer", dict.fromkeys(
        ("guided_json", "guided_regex", "guided_choice", "guided_grammar", "guided_decoding_backend",
         "guided_whitespace_pattern", "structural_tag", "structured_outputs", "structured_output"), NULL,
    )),
    ("shorten the prompt yourself; nothing is cut off here", {"truncate_prompt_tokens": NULL}),
    ("the stop string is never part of the text; add it yourself", {"include_stop_str_in_output": OFF}),
    ("use echo with logprobs at /v1/completions", {"prompt_logprobs": NULL}),
    ("use logprobs, whose tokens are texts", {"return_tokens_as_token_ids": OFF, "return_token_ids": OFF}),
    ("use logit_bias", {"allowed_token_ids": NULL, "bad_words": NONE, "logits_processors": NONE}),
    ("requests run in the order in which they come; leave it out", {"priority": (None, 0)}),
    ("send the header X-Request-Id", {"request_id": NULL}),
    ("vLLM's internals are not known here; leave it out", dict.fromkeys(("vllm_xargs", "kv_transfer_params"), NULL)),
)  # fmt: skip

COMPLETION = SAMPLING | _table(
    ("text is continued at its end only; leave it out", {"suffix": (None, "")}),
    ("use an integer: how many candidates to tell of", {"logprobs": OFF}),
    ("use max_tokens", {"max_completion_tokens": NULL}),
    ("texts are not constrained here; leave it out", {"response_format": (None, {"type": "text"})}),
    ("give the prompt as token ids", {"add_special_tokens": ON}),
)

CHAT = SAMPLING | _table(
    ("", dict.fromkeys(
        ("parallel_tool_calls", "prediction", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options"), ANY
    )),
    ("tools are not called here; describe them in a message", {
        "tools": NONE, "tool_choice": (None, "none", "auto"), "functions": NONE,
        "function_call": (None, "none", "auto"),
    }),
    ("answers are texts; ask for the modality text", {"modalities": (None, ["text"]), "audio": NULL}),
    ("the length of an answer is limited by max_tokens; leave it out", {"verbosity": (None, "medium")}),
    ("send chat_template_kwargs, if the chat template knows it", {
        "reasoning_effort": NULL, "reasoning": NULL, "thinking": NULL, "include_reasoning": ON,
    }),
    ("nothing is looked up; put the documents into a message", {"documents": NONE, "web_search_options": NULL}),
    ("answers are not moderated here; leave it out", {"moderation": NULL}),
    ("the prompt of a chat is not returned; use /v1/completions", {"echo": OFF}),
    ("the chat template writes the special tokens; use /v1/completions", {"add_special_tokens": OFF}),
    ("only texts are read; leave it out", {"mm_processor_kwargs": NULL, "media_io_kwargs": NULL}),
)  # fmt: skip

MESSAGE = _table(
    ("", {"parsed": ANY}),  # the official client adds this field to an answer
    ("send what was refused as content", {"refusal": NULL}),
    ("tools are not called here; write what they said as content", {
        "tool_calls": NONE, "function_call": NULL, "tool_call_id": NULL,
    }),
    ("only texts are read; leave it out", {"annotations": NONE, "audio": NULL, "images": NONE}),
    ("send it as reasoning_content", {"reasoning": (None, ""), "thinking_blocks": NONE, "reasoning_details": NONE}),
    ("leave it out", {"provider_specific_fields": (None, {})}),
)  # fmt: skip

PART = _table(
    ("", {"cache_control": ANY}),
    ("only texts are read; leave it out", {"annotations": NONE}),
    ("only texts are read; send parts of the type text alone", dict.fromkeys(
        ("image_url", "input_audio", "video_url", "file"), NULL,
    )),
)  # fmt: skip
STREAM = _table(("", {"include_obfuscation": ANY}))

ELSEWHERE = {  # fields of other servers, and the field of this server that an error suggests instead
    "max_new_tokens": "max_tokens", "num_predict": "max_tokens", "n_predict": "max_tokens",
    "max_tokens_to_sample": "max_tokens", "repeat_penalty": "repetition_penalty", "stop_sequences": "stop",
    "random_seed": "seed", "do_sample": "temperature", "typical_p": "top_p", "prompt": "messages", "messages": "prompt",
    "enable_thinking": "chat_template_kwargs",
}  # fmt: skip


def without_neutral(values: Any, table: Table, fields: Iterable[str]) -> Any:
    """Return the fields of a request without the fields that do not change the answer.

    If `values` is no dict, return `values` unchanged.

    Args:
        values: the fields of the request by name.
        table: the fields that do not change the answer.
        fields: the names of the fields of the schema.

    Raises:
        PydanticCustomError: a field is unknown, or its value would change the answer. The error names the field.
    """
    if not isinstance(values, dict):
        return values
    known, kept = list(fields), {}
    for name, value in values.items():
        accepted, remedy = table.get(name, ((), ""))
        if accepted is ANY or any(_same(value, each) for each in accepted):
            continue
        if name not in known:
            raise _refused(name, remedy, accepted) if name in table else _unknown(name, [*known, *table])
        kept[name] = value
    return kept


def described(table: Table) -> dict[str, Any]:
    """Return the fields of the table as properties of a JSON schema."""
    return {name: {} if values is ANY else {"enum": list(values)} for name, (values, _) in table.items()}


def _same(value: object, accepted: object) -> bool:
    return value == accepted and isinstance(value, bool) == isinstance(accepted, bool)  # True is not 1


def _refused(name: str, remedy: str, accepted: Iterable[object]) -> PydanticCustomError:
    values = " or ".join(json.dumps(each) for each in accepted)
    return PydanticCustomError(
        "unsupported_value", "{remedy} (accepted: {values})", {"field": name, "remedy": remedy, "values": values}
    )


def _unknown(name: str, known: list[str]) -> PydanticCustomError:
    other = ELSEWHERE.get(name)
    name = name[:LONGEST].encode("utf-8", "backslashreplace").decode()  # a lone surrogate cannot be encoded
    near = [other] if other in known else difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f"; did you mean {near[0]}?" if near else "; leave it out"
    return PydanticCustomError("unknown_field", "unknown field{hint}", {"field": name, "hint": hint})
