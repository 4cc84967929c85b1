"""The harness's model class against the harness's own `hf` class, offline, with a local task."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from unisono import Ensemble
from unisono.errors import ConfigurationError, RequestError

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.xdist_group("harness")]
lm_eval = pytest.importorskip("lm_eval")
PAIRS = [
    ("for i in", " range(10):"),
    ("", "import os\n"),
    ("x = ", "1"),
    ("def f(x): ", " return x"),
    ("a" * 900, " b"),
]
TASK = """\
task: local_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{prompt}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{label}}}}"
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    return tiny.text_ensemble()


@pytest.fixture(scope="module")
def theirs(ensemble: Ensemble) -> Any:
    """The harness's class for the first member alone."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=ensemble.members[0].model, tokenizer=ensemble.tokenizer, max_length=512)


def ours(ensemble: Ensemble, **method: Any) -> Any:
    from unisono.evals.harness import UnisonoLM

    return UnisonoLM(ensemble, **({"combine": "only:0"} | method))


def asked(kind: str, *arguments: Any) -> Any:
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, argument, index) for index, argument in enumerate(arguments)]


def test_loglikelihood_is_that_of_the_hf_class(ensemble: Ensemble, theirs: Any):
    """Empty contexts, blanks at the border and contexts that are too long, too."""
    requests = asked("loglikelihood", *PAIRS)
    for found, wanted in zip(ours(ensemble).loglikelihood(requests), theirs.loglikelihood(requests), strict=True):
        assert found[0] == pytest.approx(wanted[0], abs=1e-3)
        assert found[1] == wanted[1]


def test_rolling_loglikelihood_is_that_of_the_hf_class(ensemble: Ensemble, theirs: Any):
    """A text of several windows."""
    requests = asked("loglikelihood_rolling", ("import os\n" * 300,), ("x = 1",))
    found, wanted = (model.loglikelihood_rolling(requests) for model in (ours(ensemble), theirs))
    assert found == pytest.approx(wanted, abs=1e-2, rel=1e-5)


def test_generation_is_that_of_the_hf_class(ensemble: Ensemble, theirs: Any):
    """Greedy by default, up to stop strings, long prompts lose their beginning."""
    keywords = {"until": ["\n\n", "):"], "max_gen_toks": 24}
    requests = asked("generate_until", ("for i in", keywords), ("import os\n" * 300, keywords), ("x = 1", keywords))
    assert ours(ensemble).generate_until(requests, disable_tqdm=True) == theirs.generate_until(
        requests, disable_tqdm=True
    )


def test_a_combination_is_what_answers(ensemble: Ensemble):
    found = ours(ensemble, combine="weighted:0.7;0.3").loglikelihood(asked("loglikelihood", *PAIRS[:1]))
    assert found[0][0] == pytest.approx(ensemble.logprobs(*PAIRS[0], combine="weighted:0.7,0.3").total)


def test_chat_templates(ensemble: Ensemble):
    messages = [{"role": "user", "content": "hello"}]
    model = ours(ensemble)
    text = model.apply_chat_template(messages)
    assert model.tok_encode(text) == ensemble.encode_chat(messages)
    assert isinstance(model.tokenizer_name, str)


def test_a_local_task_runs_offline(ensemble: Ensemble, theirs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The whole way through the harness: equal metrics for our class and its own."""
    from lm_eval.tasks import TaskManager

    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    data = tmp_path / "data.jsonl"
    rows = [
        {"prompt": prompt, "choices": [" range", " os", " x"], "label": index % 3}
        for index, prompt in enumerate(["for i in", "import", "return", "print(", "while", "def"])
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "local.yaml").write_text(TASK.format(file=data))
    manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
    found = [
        lm_eval.simple_evaluate(model, tasks=["local_choice"], task_manager=manager, bootstrap_iters=0)["results"]
        for model in (ours(ensemble), theirs)
    ]
    assert found[0]["local_choice"]["acc,none"] == found[1]["local_choice"]["acc,none"]


def test_what_cannot_be_honoured_is_refused(ensemble: Ensemble):
    from unisono.evals.harness import UnisonoLM, sampling

    with pytest.raises(ConfigurationError, match="one of the two"):
        UnisonoLM()
    with pytest.raises(ConfigurationError, match="did you mean 'weighted'"):
        ours(ensemble, combine="wieghted")
    with pytest.raises(ConfigurationError, match="dtype is an option of"):
        ours(ensemble, dtype="float32")
    with pytest.raises(RequestError, match="'num_beams'"):
        sampling({"num_beams": 4})
    assert sampling({"do_sample": True, "temperature": 0.8}).temperature == 0.8
    assert sampling({"temperature": 0.8, "do_sample": False}).temperature == 0
    with pytest.raises(RequestError, match="leaves no room"):
        ours(ensemble).generate_until(asked("generate_until", ("x", {"max_gen_toks": 512})))
