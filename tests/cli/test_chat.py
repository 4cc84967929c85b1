"""`unisono chat`: commands, history, Ctrl-C."""

import json

import pytest

from unisono.ensemble import Ensemble

OPTIONS = ("-m", "zoo:code-m", "-m", "zoo:code-s", "--dtype", "float32", "--max-tokens", "6", "--seed", "1")


@pytest.fixture
def talk(run, monkeypatch):
    """Write lines; an exception among them is raised where the line would be read."""

    def call(*lines, options=OPTIONS):
        left = iter(lines)

        def read(_):
            line = next(left, EOFError)
            if isinstance(line, str):
                return line
            raise line

        monkeypatch.setattr("builtins.input", read)
        return run("chat", *options)

    return call


def test_a_conversation_is_remembered_and_saved(talk, tmp_path):
    file = tmp_path / "talk.json"
    done = talk("/system be brief", "add two", "now three", f"/save {file}", "/quit", "never read")
    assert done.code == 0
    saved = json.loads(file.read_text())
    assert [message["role"] for message in saved] == ["system", "user", "assistant", "user", "assistant"]
    assert [message["content"] for message in saved if message["role"] == "user"] == ["add two", "now three"]
    assert "saved 5 messages" in done.out
    for message in saved:
        if message["role"] == "assistant":
            assert message["content"].strip() in done.out


def test_answers_follow_the_whole_conversation(talk, tmp_path):
    """The second answer is the library's for the first three messages."""
    file = tmp_path / "talk.json"
    talk("add two", "now three", f"/save {file}")
    saved = json.loads(file.read_text())
    from unisono import SamplingParams

    ensemble = Ensemble.load(["zoo:code-m", "zoo:code-s"], dtype="float32")
    own = ensemble.chat(saved[:3], SamplingParams(max_tokens=6, seed=1))
    assert own.text == saved[3]["content"]


def test_weights_schedule_and_combination_change_the_method(talk):
    done = talk("/weights 0.3,0.7", "/schedule standard", "add two", "/combine contrastive:0.2", "add two")
    assert "weighted:0.3,0.7, standard" in done.out
    assert "contrastive:0.2, standard" in done.out


def test_trace_is_switched_on_and_off(talk):
    done = talk("/trace", "add two", "/trace", "add two")
    assert "trace on" in done.out and "trace off" in done.out  # noqa: PT018
    assert done.out.count(" redrawn ") == 1


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("/wieghts 1,2", "did you mean '/weights'"), ("/weights", "one weight per member"), ("/weights 1", "2 members"),
        ("/weights a,b", "a number"), ("/schedule cos:1", "2 draft lengths"), ("/schedule", "available"),
        ("/save", "name a file"), ("/save /no/such/folder/x", "cannot be saved"), ("/trace on", "takes nothing"),
        ("x " * 2000, "too long"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_and_the_conversation_goes_on(talk, line, word):
    done = talk(line, "add two")
    assert done.code == 0
    errors = [shown for shown in done.out.splitlines() if "error:" in shown]
    assert len(errors) == 1
    assert word in errors[0]
    assert "6 tokens" in done.out


def test_ctrl_c_stops_the_answer_not_the_program(talk, monkeypatch, tmp_path):
    """In the middle of an answer what was written stays; at the prompt nothing happens; rows are freed."""
    file = tmp_path / "talk.json"
    ensembles = []
    stream = Ensemble.stream

    def interrupted(self, *arguments, **options):
        ensembles.append(self)
        pieces = stream(self, *arguments, **options)
        yield next(pieces)
        yield next(pieces)
        pieces.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(Ensemble, "stream", interrupted)
    done = talk("add two", KeyboardInterrupt, f"/save {file}", "/reset")
    assert done.code == 0
    assert "(stopped)" in done.out
    saved = json.loads(file.read_text())
    assert [message["role"] for message in saved] == ["user", "assistant"]
    assert not ensembles[0].engine._running


def test_without_a_template_it_says_what_to_do(run, monkeypatch, tmp_path):
    """Models without a chat template need one to be named; `plain` is one."""
    from transformers import AutoTokenizer

    from unisono import zoo

    plain = AutoTokenizer.from_pretrained(zoo.path("code-s"))
    plain.chat_template = None
    monkeypatch.setattr("unisono.members.hf.load.AutoTokenizer.from_pretrained", lambda *_, **__: plain)
    options = ("chat", "-m", "zoo:code-s", "--max-tokens", "4")
    done = run(*options)
    assert done.code == 2
    assert "--chat-template" in done.err
    monkeypatch.setattr("builtins.input", lambda _: "/quit")
    assert run(*options, "--chat-template", "plain").code == 0
