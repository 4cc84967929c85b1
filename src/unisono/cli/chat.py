"""`unisono chat`: hold a conversation in the terminal."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from unisono.cli.loading import load_ensemble, read_config, sampling, templating
from unisono.cli.options.chat import ChatOptions
from unisono.cli.render import summary
from unisono.ensemble import Ensemble
from unisono.errors import RequestError, UnisonoError, unknown
from unisono.params import SamplingParams
from unisono.text.encoder import Chat
from unisono.text.trace import Trace
from unisono.types import Result

HELP = """/system TEXT    instructions in front of the conversation; without text, none
/weights A,B    a weighted ensemble with these weights
/combine NAME   another combination, as contrastive:0.1
/schedule NAME  standard, parallel, speculative:G, cos:G1,G2,..., relay:G, risky:K, lookup:N or auto
/trace          colour tokens by the member that proposed them, or no longer
/save FILE      write the conversation to a JSON file
/reset          forget the conversation
/quit           leave, as Ctrl-D does; Ctrl-C stops an answer"""


def run(options: ChatOptions) -> None:
    """Load the members and hold a conversation until the user leaves."""
    config, template = read_config(options.load.config), templating(options.template)
    asked = sampling(config, options.sampling)
    ensemble = load_ensemble(options.load, config)
    if "chat_template" not in template and not getattr(ensemble.tokenizer, "chat_template", None):
        raise RequestError(
            "the first member's tokenizer has no chat template; give one with --chat-template FILE, or --chat-template plain"
        )
    ensemble.prompts.turn_ends(template.get("chat_template"))  # raises an error if the template does not exist
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{ensemble}\nWrite a message, or /help.")
    params = replace(ensemble.default_params, **asked)
    Conversation(ensemble, params, console, options.system, options.trace, template).run()


@dataclass
class Conversation:
    """A conversation in the terminal: its messages so far, and the settings for decoding the next answer."""

    ensemble: Ensemble
    params: SamplingParams
    console: Console
    system: str | None = None
    trace: bool = False
    template: Mapping[str, Any] = field(default_factory=dict)
    messages: list[dict[str, str]] = field(default_factory=list)
    method: dict[str, str] = field(default_factory=dict)
    open: bool = True

    def run(self) -> None:
        """Read lines and process each line with `take`, until the input ends or the user enters /quit."""
        with suppress(ImportError):  # some systems have no readline
            import readline  # noqa: F401 - adds line editing and a history to `input`
        while self.open:
            try:
                line = input("> ").strip()
            except EOFError:
                self.console.print()
                return
            except KeyboardInterrupt:
                self.console.print("\n(Ctrl-D or /quit leaves)")
                continue
            try:
                self.take(line)
            except UnisonoError as error:
                self.console.print(f"error: {' '.join(str(error).split())}", style="red", markup=False)

    def take(self, line: str) -> None:
        """Process one line. A line that begins with a slash is a command. Any other line is a message of the user.

        Raises:
            UnisonoError: the command is unknown or fails.
        """
        if not line.startswith("/"):
            if line:
                self.answer(line)
            return
        name, _, rest = line[1:].partition(" ")
        if name not in COMMANDS:
            raise unknown("command", f"/{name}", [f"/{known}" for known in COMMANDS])
        COMMANDS[name](self, rest.strip())

    def answer(self, text: str) -> None:
        """Generate and print the answer to a message. After Ctrl-C, the conversation keeps the text printed so far."""
        self.messages.append({"role": "user", "content": text})
        shown = ""
        try:
            stream = self.ensemble.stream(Chat(self.all_messages(), **self.template), self.params, **self.method)
            trace = Trace(self.ensemble.tokenizer, self.ensemble.lineup.labels, self.console) if self.trace else None
        except UnisonoError:
            self.messages.pop()
            raise
        result: Result | None = None
        try:
            for piece in stream:
                shown += piece.text
                if trace:
                    trace.token(piece)
                else:
                    self.console.print(piece.text, end="", markup=False)
                result = piece.result
        except KeyboardInterrupt:
            stream.close()
        self.messages.append({"role": "assistant", "content": shown})
        told = "stopped" if result is None else summary(result, self.ensemble, self.params)
        self.console.print(f"\n({told})", style="dim", markup=False)

    def all_messages(self) -> list[dict[str, str]]:
        """Return the system message, if there is one, followed by the messages so far."""
        return [*([{"role": "system", "content": self.system}] if self.system else []), *self.messages]

    def change(self, **method: str) -> None:
        """Use this combination or schedule for the next answers. Raise UnisonoError if `method` is invalid."""
        tried: dict[str, Any] = {**self.method, **method}
        self.ensemble.method(**tried)
        self.method.update(method)
        self.console.print("(" + ", ".join(f"{key} {value}" for key, value in self.method.items()) + ")", markup=False)

    def set_system(self, text: str) -> None:
        self.system = text or None
        self.console.print("(instructions set)" if text else "(no instructions)")

    def set_weights(self, text: str) -> None:
        if not text:
            raise RequestError("give one weight per member, as in /weights 0.3,0.7")
        self.change(combine=f"weighted:{text}")

    def set_trace(self, text: str) -> None:
        if text:
            raise RequestError(f"/trace takes nothing, not: {text!r}")
        self.trace = not self.trace
        self.console.print(f"(trace {'on' if self.trace else 'off'})")

    def save(self, text: str) -> None:
        if not text:
            raise RequestError("name a file, as in /save talk.json")
        content = json.dumps(self.all_messages(), ensure_ascii=False, indent=1)
        try:
            Path(text).expanduser().write_text(content + "\n", encoding="utf-8")
        except OSError as error:
            raise RequestError(f"the conversation cannot be saved: {text} ({error.strerror})") from error
        self.console.print(f"(saved {len(self.all_messages())} messages in {text})", markup=False)

    def reset(self, text: str) -> None:
        self.messages.clear()
        self.console.print("(a new conversation)")

    def help(self, text: str) -> None:
        self.console.print(HELP, markup=False)

    def quit(self, text: str) -> None:
        self.open = False


COMMANDS: dict[str, Callable[[Conversation, str], None]] = {
    "system": Conversation.set_system,
    "weights": Conversation.set_weights,
    "combine": lambda talk, text: talk.change(combine=text),
    "schedule": lambda talk, text: talk.change(schedule=text),
    "trace": Conversation.set_trace,
    "save": Conversation.save,
    "reset": Conversation.reset,
    "help": Conversation.help,
    "quit": Conversation.quit,
}
