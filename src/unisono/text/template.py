"""Write conversations as text with the chat templates of one tokenizer."""

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jinja2 import TemplateError

from unisono.errors import RequestError

Message = Mapping[str, Any]
MARK = "qzxprobe"  # a content that no template contains
TURNS = ("user", "assistant")
LEFT_OUT = "the chat template writes no system messages; they are left out"
ROLES = ("system", "developer", *TURNS)  # roles that are tested with short conversations


class Template:
    """Writes conversations as text. Short test conversations show which roles and forms of content a template supports.

    A content is passed to the template in the form that the template supports: a text or a list of parts. If a template
    does not write the role `developer`, messages with this role get the role `system`. If a template does not write
    system messages, the text of a system message is put in front of the next user message. `write` raises RequestError
    if the template still leaves out a message.

    Args:
        tokenizer: a tokenizer of transformers, or None.
        notify: a function that is called with one sentence when messages are moved or left out.
    """

    def __init__(self, tokenizer: Any, notify: Callable[[str], object] = warnings.warn) -> None:
        self._tokenizer = tokenizer
        self.notify = notify
        self._forms: dict[tuple[str, str], str] = {}
        self._ends: dict[str, frozenset[int]] = {}

    def write(
        self,
        messages: Sequence[Message],
        template: str | None = None,
        *,
        opening: bool = True,
        continued: bool = False,
        variables: Mapping[str, Any] | None = None,
        system: bool = True,
    ) -> str:
        """Return a conversation as text.

        Args:
            template: the name of one of the tokenizer's templates, or a template in Jinja; None for the default.
            opening: whether to write the beginning of the assistant's turn after the messages.
            continued: whether to leave the last message open, so that the answer continues this message.
            variables: further variables for the template: name -> value.
            system: what to do if the template does not write system messages. If True, their text is moved into user
                messages. If False, their text is left out, and `notify` is called.

        Raises:
            RequestError: the template does not exist, fails or leaves out a message, or a message is malformed.
        """
        source, variables = self._source(template), variables or {}
        self._require_variables(variables)
        if not isinstance(messages, list | tuple) or not messages:
            raise RequestError(f"a chat is a list of at least one message, not: {messages!r}")
        for message in messages:
            _require_message(message)
        options: dict[str, Any] = {"add_generation_prompt": opening, "continue_final_message": continued, **variables}
        found = self._shaped(source, self._known(source, messages, system))
        text = self._render(source, found, options)
        self._require_written(source, found, options, text, system)
        return text

    def ends(self, template: str | None = None) -> frozenset[int]:
        """Return the special token that ends an assistant's turn, in a set; an empty set if there is no such token."""
        source = self._source(template)
        if source not in self._ends:
            turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": MARK}]
            _, found, rest = self._attempt(source, self._shaped(source, turns)).rpartition(MARK)
            ids = self._tokenizer.encode(rest, add_special_tokens=False) if found else []
            begin = {self._tokenizer.bos_token_id} - {self._tokenizer.eos_token_id}  # except if it ends texts too
            self._ends[source] = frozenset([token for token in ids if self._is_special(token)][:1]) - begin
        return self._ends[source]

    def _is_special(self, token: int) -> bool:
        added = self._tokenizer.added_tokens_decoder.get(token)
        return token in self._tokenizer.all_special_ids or (added is not None and added.special)

    def _source(self, asked: str | None) -> str:
        own = getattr(self._tokenizer, "chat_template", None)
        if asked is not None and "{" in asked and self._tokenizer is not None:
            return asked
        if not own:
            raise RequestError("the first member's tokenizer has no chat template; give a plain prompt instead")
        named: dict[str, str] = own if isinstance(own, dict) else {"default": own}
        if (asked or "default") in named:
            return named[asked or "default"]
        names = ", ".join(sorted(named))
        if asked is None:
            raise RequestError(
                f"the tokenizer has several chat templates and no default; set chat_template to one of: {names}"
            )
        raise RequestError(f"chat_template: there is none named {asked!r}; the tokenizer has: {names}")

    def _require_variables(self, variables: Mapping[str, Any]) -> None:
        if not isinstance(variables, Mapping) or not all(isinstance(name, str) for name in variables):
            raise RequestError(f"chat_template_kwargs must be a mapping of names to values, not: {variables!r}")
        reserved = inspect.signature(self._tokenizer.apply_chat_template).parameters.keys() - {"tools", "documents"}
        for name in variables:
            if name in reserved or name == "messages":
                raise RequestError(f"chat_template_kwargs: {name} is no variable of a template; leave it out")

    def _render(self, source: str, messages: Sequence[Message], options: Mapping[str, Any]) -> str:
        try:
            text: str = self._tokenizer.apply_chat_template(
                list(messages), chat_template=source, tokenize=False, **options
            )
            return text
        except TemplateError as error:
            raise RequestError(f"the chat template refuses these messages: {_one_line(error)}") from error
        except Exception as error:
            problem = f"{type(error).__name__}: {_one_line(error)}"
            raise RequestError(f"the chat template cannot write these messages ({problem}); change them") from error

    def _attempt(self, source: str, messages: Sequence[Message]) -> str:
        """Return the text of a test conversation; an empty text if the template fails."""
        try:
            return self._render(source, messages, {})
        except RequestError:
            return ""

    def _form(self, source: str, role: str) -> str:
        """Return the form of content that a template supports for a role: "text", "parts", or "" for none."""
        if (source, role) not in self._forms:
            self._forms[source, role] = next((f for f in ("text", "parts") if self._is_written(source, role, f)), "")
        return self._forms[source, role]

    def _is_written(self, source: str, role: str, form: str) -> bool:
        message = {"role": role, "content": _as(form, MARK)}
        if role == "user":
            return MARK in self._attempt(source, [message]).casefold()
        user = {"role": "user", "content": _as(self._form(source, "user"), "x")}
        around = [message, user] if role in ("system", "developer") else [user, message]
        return MARK in self._attempt(source, around).casefold()

    def _known(self, source: str, messages: Sequence[Message], system: bool) -> list[Message]:
        """Return the messages, converted to roles that the template writes.

        If the template cannot write a single user message, return the messages unchanged.
        """
        if not self._form(source, "user"):
            return list(messages)
        if not self._form(source, "developer"):
            messages = [{**each, "role": "system"} if each["role"] == "developer" else each for each in messages]
        if all(each["role"] != "system" for each in messages) or self._form(source, "system"):
            return list(messages)
        if not system:
            self.notify(LEFT_OUT)
            return [each for each in messages if each["role"] != "system"]
        self.notify("the chat template writes no system messages; they are put in front of the user's turn")
        return _merged(messages)

    def _shaped(self, source: str, messages: Sequence[Message]) -> list[Message]:
        """Return the messages with each content in the form that the template supports."""
        roles = [each["role"] if each["role"] in ROLES else "user" for each in messages]
        pairs = zip(roles, messages, strict=True)
        return [{**each, "content": _as(self._form(source, role), each["content"])} for role, each in pairs]

    def _require_written(
        self, source: str, messages: Sequence[Message], options: Mapping[str, Any], text: str, system: bool
    ) -> None:
        """Raise RequestError for a message that the template leaves out.

        For a system message, call `notify` instead if `system` is False. User and assistant messages before the last
        message are not checked, because templates may drop these messages. If a template strips or escapes a content,
        the text does not contain the exact content. In this case, the conversation is written again with a mark in
        place of the content. If the new text does not contain the mark, the template leaves out the message.
        """
        squeezed = _squeezed(text)
        for place, message in enumerate(messages):
            role, content = message["role"], _squeezed(_text(message["content"]))
            earlier = role in TURNS and place < len(messages) - 1
            known = role in ROLES and self._form(source, role) and (role in TURNS or not place)
            if not content or earlier or (known and content in squeezed):
                continue
            marked = {**message, "content": _as("text" if isinstance(message["content"], str) else "parts", MARK)}
            try:
                probe = self._render(source, [*messages[:place], marked, *messages[place + 1 :]], options)
            except RequestError:
                continue
            if MARK in probe.casefold():
                continue
            if system or role != "system":
                raise RequestError(
                    f"the chat template leaves message {place + 1} out, of role {role!r}; give it another role or place"
                )
            self.notify(LEFT_OUT)


def _merged(messages: Sequence[Message]) -> list[Message]:
    """Move the text of system messages into the next user message, or into a new last message. Return all messages."""
    found: list[Message] = []
    waiting: list[str] = []
    for message in messages:
        if message["role"] == "system":
            waiting += [text] if (text := _text(message["content"])).strip() else []
        elif message["role"] == "user" and waiting:
            found.append({**message, "content": "\n\n".join([*waiting, _text(message["content"])])})
            waiting = []
        else:
            found.append(message)
    return found if not waiting else [*found, {"role": "user", "content": "\n\n".join(waiting)}]


def _as(form: str, content: Any) -> Any:
    """Return the content as a list of parts if `form` is "parts", else as a text."""
    if form == "parts":
        return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
    return _text(content)


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _require_message(message: object) -> None:
    role, content = (message.get("role"), message.get("content")) if isinstance(message, Mapping) else (None, None)
    parts = content if isinstance(content, list | tuple) else ()
    if not isinstance(role, str) or not (isinstance(content, str) or parts):
        raise RequestError(f"a message needs a role and a content, both texts, not: {message!r}")
    for part in parts:
        if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise RequestError(f'a part of a content is {{"type": "text", "text": "..."}}, not: {part!r}')
