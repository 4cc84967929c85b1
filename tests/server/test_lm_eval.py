"""lm-evaluation-harness' `local-completions` runs a local task against the server and sees the combined law."""

import json
from types import SimpleNamespace

import pytest

from tests.server.live import live
from unisono import zoo
from unisono.config import Config
from unisono.members.backends import as_source
from unisono.server.catalog import single

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore")]
lm_eval = pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed")
pytest.importorskip("tenacity", reason="lm-eval[api] is not installed")

ROWS = [
    {"start": "import", "right": " os", "wrong": " banana"},
    {"start": "def __init__(", "right": "self", "wrong": "while"},
    {"start": "for i in", "right": " range", "wrong": " return"},
    {"start": "    return", "right": " self", "wrong": " import"},
]
TASK = """
task: code_words
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{start}}"
doc_to_choice: ["{{right}}", "{{wrong}}"]
doc_to_target: 0
target_delimiter: ""
metric_list: [{metric: acc}]
"""


@pytest.fixture(scope="module")
def pair():
    members = tuple(as_source({"model": f"zoo:{name}", "dtype": "float32"}) for name in ("code-m", "code-s"))
    with live(single(Config(members, "weighted:0.7,0.3", "cos:1,1"), "zoo")) as own:
        yield own


def model(own):
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    url, tokenizer = f"{own.url}/v1/completions", str(zoo.path("code-m"))
    return LocalCompletionsAPI(model="zoo", base_url=url, tokenizer=tokenizer, num_concurrent=1, max_retries=1)


def test_loglikelihoods_are_the_combined_ones(pair):
    requests = [SimpleNamespace(args=(row["start"], row[kind])) for row in ROWS for kind in ("right", "wrong")]
    found = model(pair).loglikelihood(requests)
    for request, (value, greedy) in zip(requests, found, strict=True):
        own = pair.ensemble("zoo").logprobs(*request.args)
        assert value == pytest.approx(own.total, abs=1e-3)
        assert greedy == own.is_greedy
    assert {greedy for _, greedy in found} == {True, False}


def test_a_task_runs(pair, tmp_path):
    data = tmp_path / "words.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "code_words.yaml").write_text(TASK.replace("FILE", str(data)))
    from lm_eval.tasks import TaskManager

    tasks = TaskManager(include_path=str(tmp_path), include_defaults=False)
    results = lm_eval.simple_evaluate(model(pair), tasks=["code_words"], task_manager=tasks, bootstrap_iters=0)
    assert results["results"]["code_words"]["acc,none"] == 1.0


def test_generation_is_that_of_the_library(pair):
    from unisono import SamplingParams

    request = SimpleNamespace(args=("def add(a, b):", {"until": ["\n\n"], "max_gen_toks": 12, "temperature": 0}))
    (text,) = model(pair).generate_until([request])
    params = SamplingParams(max_tokens=12, temperature=0, stop="\n\n")
    assert text == pair.ensemble("zoo").generate("def add(a, b):", params)[0].text
