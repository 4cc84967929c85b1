"""Every command and every example in the documents is run: here, by the test that is named, or not, with the reason.

A command runs as it stands, in a folder with the files that it names. Placeholders are filled in, and what would measure for
minutes is told to measure little.
"""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import unisono
from tests.cli.conftest import run  # noqa: F401  # a fixture
from unisono import zoo

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
PROGRAMS = ("unisono", "python", "pip", "make", "curl", "lm_eval")

NOT_RUN = {  # what a command begins with, and why no test runs it
    "make ": "sets up an environment of its own; CI runs make setup, check and test-all",
    "pip install": "needs a package index; tests/meta/test_wheel.py installs the wheel",
    "unisono bench --preset paper": "takes hours; tests/bench runs its parts",
    "python benchmarks/two_commits.py": "takes hours and needs two commits; tests/bench/test_two_commits.py has its arithmetic",
    "python benchmarks/auto.py": "compiles members and takes minutes; tests/bench/test_auto.py runs its parts",
    "python benchmarks/gpu.py --output": "needs a GPU",
    "python benchmarks/gpu.py --shapes 1B": "needs a GPU",
    "unisono generate --config configs/paper/": "needs models of the hub",
    "unisono members -m meta-llama/": "needs models of the hub",
    "unisono eval gsm8k": "needs a data set of the hub; tests/evals/test_harness.py runs a local task",
    "python -m zoo.": "trains for hours; tests/zoo has its parts",
}
LONG = ("unisono bench", "unisono eval", "python benchmarks/gpu.py", "unisono fit-tree", "lm_eval")
SMALLER = {  # what a command begins with, and what is added
    "unisono bench predict": "",
    "python benchmarks/gpu.py": "--tokens 8 --repeats 1",
    "unisono bench": "--prompts 1 --repeats 1 --max-tokens 4",
    "unisono eval --preset": "--limit 2",
    "unisono eval": "--limit 12",
    "lm_eval": "--include_path . --limit 2",
}
PLACEHOLDERS = {"-m A -m B": "-m zoo:skills-m -m zoo:skills-n", "--tasks TASK": "--tasks words"}
EXAMPLES_ELSEWHERE = {  # documents whose examples in Python another test runs
    "README.md": "tests/meta/test_readme.py",
    "docs/methods/": "tests/meta/test_methods.py",
}
EXAMPLES_NOT_RUN = {
    (
        "docs/evaluation.md",
        "import lm_eval",
    ): "needs a data set of the hub; tests/evals/test_harness.py runs a local task",
    ("docs/paper.md", "from pathlib import Path"): "needs models of the hub",
}
FILES = {
    "texts.jsonl": "".join(f'{{"text": "The quick brown fox jumps over {number} dogs."}}\n' for number in range(12)),
    "qa.jsonl": '{"prompt": "\\nreverse abc =", "answer": " cba"}\n' * 4,
    "HumanEval.jsonl": '{"task_id": "t/0", "prompt": "def one():\\n", "entry_point": "one", '
    '"test": "def check(f):\\n    assert f() == 1\\n", "canonical_solution": "    return 1\\n"}\n',
    "words.jsonl": '{"start": "import", "right": " os", "wrong": " banana"}\n' * 2,
}
TASK = """
task: NAME
dataset_path: json
dataset_kwargs: {data_files: {test: words.jsonl}}
test_split: test
doc_to_text: "{{start}}"
"""
CHOOSE = """
output_type: multiple_choice
doc_to_choice: ["{{right}}", "{{wrong}}"]
doc_to_target: 0
metric_list: [{metric: acc}]
"""
WRITE = """
output_type: generate_until
doc_to_target: "{{right}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 4}
"""
TASKS = {"words": CHOOSE, "write": WRITE}


@dataclass(frozen=True)
class Block:
    """Fenced text of a document. place: of the document in the repository. line: its first one."""

    place: str
    language: str
    text: str
    line: int


def blocks() -> list[Block]:
    found = []
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            place = str(path.relative_to(ROOT))
            found.append(Block(place, match[1], match[2], text[: match.start(2)].count("\n")))
    return found


def commands() -> dict[str, str]:
    """All commands without their comments, and where each one stands."""
    found: dict[str, str] = {}
    for block in blocks():
        if block.language == "sh":
            for line in block.text.replace("\\\n", " ").splitlines():
                command = re.sub(r"\s+# .*|\s*&$", "", line).strip()
                if command:
                    found.setdefault(command, block.place)
    return found


def examples() -> list[Block]:
    return [block for block in blocks() if block.language == "python"]


def listed(command: str) -> str | None:
    """What in NOT_RUN a command begins with."""
    return next((begin for begin in NOT_RUN if command.startswith(begin)), None)


def here(block: Block) -> bool:
    """Whether an example is run by a test of this file."""
    elsewhere = any(block.place.startswith(place) for place in EXAMPLES_ELSEWHERE)
    return not elsewhere and (block.place, block.text.splitlines()[0]) not in EXAMPLES_NOT_RUN


def marked(command: str) -> Any:
    mark = pytest.mark.long if command.startswith(LONG) else pytest.mark.slow
    return pytest.param(command, marks=mark, id=command[:70])


RUN = [command for command in commands() if listed(command) is None]


def test_the_lists_are_of_commands_that_there_are():
    assert len(RUN) >= 15
    assert {command.split()[0] for command in RUN} <= set(PROGRAMS)
    assert set(NOT_RUN) == {listed(command) for command in commands()} - {None}
    first = {(block.place, block.text.splitlines()[0]) for block in examples()}
    assert set(EXAMPLES_NOT_RUN) <= first
    for place, test in EXAMPLES_ELSEWHERE.items():
        assert any(block.place.startswith(place) for block in examples())
        assert (ROOT / test).is_file()


def test_no_command_hides_in_a_block_without_a_language():
    hidden = rf"^({'|'.join(PROGRAMS)}) .*"
    assert [block for block in blocks() if block.language == "" and re.search(hidden, block.text, re.MULTILINE)] == []


def test_examples_of_other_languages_are_known():
    assert {block.language for block in blocks()} <= {"sh", "python", "yaml", "mermaid", ""}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])


def environment() -> dict[str, str]:
    """The one that `unisono`, `python` and `lm_eval` of the documents are found in; they load this source."""
    source, programs = str(Path(unisono.__file__).parents[1]), str(Path(sys.executable).parent)
    path = os.pathsep.join([programs, os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": source, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of `unisono serve` as the documents start it."""
    assert "unisono serve" in RUN
    found, folder = free_port(), tmp_path_factory.mktemp("serve")
    with (folder / "log").open("w") as log:
        command = ["unisono", "serve", "--port", str(found)]
        running = subprocess.Popen(command, cwd=folder, env=environment(), stdout=log, stderr=log)
        try:
            for _ in range(600):
                with socket.socket() as tried:
                    if tried.connect_ex(("127.0.0.1", found)) == 0 and "serving zoo" in (folder / "log").read_text():
                        break
                assert running.poll() is None, (folder / "log").read_text()
                time.sleep(0.2)
            yield found
        finally:
            running.terminate()
            assert running.wait(60) == 0


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With every file and model that commands name."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    for name, text in TASKS.items():
        (tmp_path / f"{name}.yaml").write_text(TASK.replace("NAME", name) + text, encoding="utf-8")
    for name, model in (("my-model", "code-m"), ("my-other-model", "code-n")):
        shutil.copytree(zoo.path(model), tmp_path / name)
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def filled(command: str, port: int) -> str:
    """A command with its placeholders filled in, about as much as takes seconds."""
    for placeholder, value in PLACEHOLDERS.items():
        command = command.replace(placeholder, value)
    if "local-chat-completions" in command:
        command = command.replace("words", "write")
    more = next((more for begin, more in SMALLER.items() if command.startswith(begin)), "")
    return f"{command} {more}".replace(":8000", f":{port}").strip()


def split(command: str) -> list[str]:
    """A command's words as a shell makes them."""
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


@pytest.mark.parametrize("command", [marked(command) for command in RUN])
@pytest.mark.filterwarnings("ignore")  # of other programs
def test_a_command_runs(command: str, folder: Path, request: pytest.FixtureRequest, run: Any):  # noqa: F811
    served = ":8000" in command or command == "unisono serve"
    port = request.getfixturevalue("port") if served else 8000
    if command == "unisono serve":  # it runs
        return
    line = filled(command, port)
    if "cosd_tree:tree.json" in line:
        assert run(*split("unisono fit-tree --skills 2 --output tree.json")[1:]).code == 0
    if line.startswith("unisono "):
        found = run(*split(line)[1:])
        assert (found.code, found.out.strip() != "") == (0, True), found.err
        return
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert '"error"' not in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "block", [block for block in examples() if here(block)], ids=lambda block: f"{block.place}:{block.line}"
)
def test_an_example_runs(block: Block, folder: Path, request: pytest.FixtureRequest):
    """With the names that the text around it has introduced."""
    names: dict[str, Any] = {"__name__": "example"} | {name: getattr(unisono, name) for name in unisono.__all__}
    if "client." in block.text:
        openai = pytest.importorskip("openai")
        url = f"http://127.0.0.1:{request.getfixturevalue('port')}/v1"
        names |= {
            "client": openai.OpenAI(base_url=url, api_key="none"),
            "messages": [{"role": "user", "content": "hi"}],
        }
    text = block.text.replace('model="pair"', 'model="zoo"')
    exec(compile("\n" * block.line + text, block.place, "exec"), names)
    if "client" in names:
        names["client"].close()


def test_shell_words_are_those_of_bash():
    assert split("unisono generate $'\\na =' --x 'b c'") == ["unisono", "generate", "\na =", "--x", "b c"]
    assert shlex.split(filled("unisono bench predict -m A -m B", 1))[3:5] == ["-m", "zoo:skills-m"]
