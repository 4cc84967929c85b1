"""When collaboration helps, and what it costs: the figures of docs/evaluation.md.

    python benchmarks/fusion.py quality speed bits harness --gsm8k FILE --output benchmarks/results/fusion.json

Each part replaces its own section of the result file and says where it comes from. `quality`: the bundled specialists on
all skills mixed. `speed`: the same specialists inflated to 90M parameters, laws unchanged. `bits`: Python and GSM8K, half
and half. `harness`: our model class against the harness's own.
"""

import argparse
import ast
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import speeds
import test
import torch
from rich.console import Console
from transformers import AutoModelForCausalLM, AutoTokenizer

from unisono import Ensemble, SamplingParams, zoo
from unisono.bench.inflate import inflate
from unisono.bench.provenance import provenance
from unisono.combine import as_combination
from unisono.combine.tree import rules, write_tree
from unisono.evals.compare import Row, by_skill, compare
from unisono.evals.fit import examples, fit
from unisono.evals.skills import items
from unisono.evals.statistics import difference, ratio
from unisono.evals.tasks import BitsPerByte, ExactMatch
from unisono.evals.tune import tune
from unisono.members.hf.load import model_of

SPECIALISTS = ["zoo:skills-m", "zoo:skills-n"]
METHODS = ["weighted", "product", "cosd", "cascade:chow,0.3", "cascade:opt,0.3", "nudge:0.5", "gate:1,1"]
GENERALIST = "zoo:skills-s"  # the draft of the pairs on which trees are compared with the rule
TREE_TEXTS = 10
DEVELOPMENT = 100  # documents of bits
TREE = Path("benchmarks/results/cosd_tree.json")  # relative to where the command is run: the repository's root
console = Console(stderr=True)


def quality(options: argparse.Namespace) -> dict[str, Any]:
    """Members, methods and routers on test items; parameters and the tree come from development items."""
    ensemble = Ensemble.load([*SPECIALISTS], dtype="float32")
    task = ExactMatch(items(options.items, seed=0))
    tree = fit_tree(ensemble, TREE)
    development = ExactMatch(items(200, seed=1, split="development"))
    tuned = [tune(ensemble, development, name, progress=say)[0].name for name in ("weighted", "cosd")]
    known = [as_combination(name, 2).name for name in METHODS]
    fresh = [name for name in tuned if name not in known]
    rows = compare(ensemble, task, [*METHODS, f"cosd_tree:{TREE}", *fresh], "auto", say)
    triple = Ensemble.load([*SPECIALISTS, GENERALIST], dtype="float32")
    more = compare(triple, task, ["cosd", "proxy:0.5", "weighted"], "auto", say)
    rows += [replace(row, name=f"{row.name}, with skills-s") for row in more if row.kind == "fused"]
    generalist = next(row for row in more if f"zoo:{row.name}" == GENERALIST)
    by_name = {row.name: row for row in rows}
    cosd = by_name["cosd:alpha=0.5,beta=0.5"]
    trees = by_name[f"cosd_tree:{TREE}"]
    return {
        "items": len(task),
        "members": ensemble.names,
        "rows": [row.as_dict() for row in [*rows, generalist]],
        "by_skill": by_skill(task, [*rows, generalist]),
        "tuned": tuned,
        "best_over_routers": best_over_routers(rows),
        "tree": tree | {"minus_cosd": difference(trees.scores, cosd.scores).as_dict()},
        "generalist": [tree_of_pair([GENERALIST, assistant], task) for assistant in SPECIALISTS],
    }


def tree_of_pair(pair: list[str], task: ExactMatch) -> dict[str, Any]:
    """Rule and tree side by side for another pair; the tree's texts are the same."""
    ensemble = Ensemble.load([*pair], dtype="float32")
    file = TREE.with_name(f"cosd_tree-{'-'.join(ensemble.names)}.json")
    tree = fit_tree(ensemble, file)
    say(f"{' and '.join(ensemble.names)}: rule and tree")
    rule, fitted = (task.run(ensemble, name, "auto").scores for name in ("cosd", f"cosd_tree:{file}"))
    scores = {"cosd": ratio(rule).as_dict(), "cosd_tree": ratio(fitted).as_dict()}
    return {"members": ensemble.names} | tree | scores | {"minus_cosd": difference(fitted, rule).as_dict()}


def best_over_routers(rows: Sequence[Row]) -> dict[str, Any]:
    """The best fused method of two members against each router, paired."""
    best = max((row for row in rows if row.kind == "fused"), key=lambda row: row.score.value)
    routers = [row for row in rows if row.kind == "router"]
    gains = {row.name: difference(best.scores, row.scores).as_dict() for row in routers}
    return {"best": best.name, "gain_over": gains}


def fit_tree(ensemble: Ensemble, file: Path) -> dict[str, Any]:
    """The tree of a few development texts of two skills each, written beside the results."""
    texts = [{"prompt": item.prompt, "answer": item.answer} for item in items(TREE_TEXTS, 0, "development", pairs=1.0)]
    features, labels = examples(ensemble, texts)
    tree = fit(features, labels)
    counts = {"texts": TREE_TEXTS, "positions": len(labels), "assistant_right": int(labels.sum())}
    write_tree(tree, file, members=ensemble.names, **counts)
    return counts | {"features": sorted(tree.features()), "rules": list(rules(tree))}


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Schedules against `standard`, greedy, one row at a time, for specialists of 90M parameters."""
    tokenizer = AutoTokenizer.from_pretrained(zoo.path("skills-m"))
    small = {
        name: AutoModelForCausalLM.from_pretrained(zoo.path(name)).float() for name in zoo.names() if "skills" in name
    }
    large = [inflate(small[name]) for name in ("skills-m", "skills-n")]
    prompts = [item.prompt for item in items(options.prompts, seed=2, pairs=1.0)]
    pair = ["weighted", "cosd", f"cosd_tree:{TREE}", "gate:1,1", "nudge:0.5", "cascade:chow,0.3"]
    cases: list[tuple[str, str, list[Any]]] = [(name, "", large) for name in pair]
    for anti in ("skills-n", "skills-s"):  # the base's own small version, as in proxy-tuning; and a poor one
        cases.append(("proxy:0.5", f"against {anti}", [large[1], small["skills-m"], small[anti]]))
    sections = {}
    for dtype in options.dtype:
        sections[dtype] = [
            speed_of(name, [model.to(getattr(torch, dtype)) for model in models], tokenizer, prompts, options)
            | {"note": note}
            for name, note, models in cases
        ]
    return {"parameters": [model.num_parameters() for model in large], "prompts": len(prompts)} | sections


def speed_of(
    name: str, models: Sequence[Any], tokenizer: Any, prompts: Sequence[str], options: argparse.Namespace
) -> dict[str, Any]:
    """One combination under its schedules; whether every text is that of `standard`."""
    say(f"{name} in {models[0].dtype}")
    members = [{"model": model, "tokenizer": tokenizer} for model in models]
    ensemble = Ensemble.load(members, name, compile=options.compile)
    params = SamplingParams(max_tokens=24, temperature=0, seed=0)
    lengths = "2,1" if len(models) == 2 else "2,1,1"
    schedules = ["auto", f"cos:{lengths}", f"cos:{','.join('1' * len(models))}"]
    if name == "cosd":
        schedules += ["speculative:3", "speculative:4"]  # the paper's fixed drafting by one model
    texts = {
        schedule: [result.text for prompt in prompts for result in ensemble.generate(prompt, params, schedule=schedule)]
        for schedule in ["standard", *schedules]
    }
    cells = speeds.compare(ensemble, prompts, params, schedules, options.repeats)
    found = [
        {"asked": schedule, "schedule": cell.schedule, "speedup": cell.speedup, "forwards": list(cell.forwards),
         "acceptance": cell.acceptance, "same_text": texts[schedule] == texts["standard"]}
        for schedule, cell in zip(["standard", *schedules], cells, strict=True)
    ]  # fmt: skip
    return {"combination": name, "schedules": found}


def bits(options: argparse.Namespace) -> dict[str, Any]:
    """Weights tuned on half of the documents, bits per byte on the other half: Python and GSM8K, half and half."""
    if options.gsm8k is None:
        raise SystemExit("bits needs --gsm8k FILE, the test file of GSM8K as JSON lines")
    lines = Path(options.gsm8k).read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    sums = [f"{record['question']}\n{record['answer']}" for record in records]
    functions = python_documents((DEVELOPMENT + options.documents) // 2)
    ensemble = Ensemble.load(["zoo:code-m", "zoo:code-n"], dtype="float32")
    mixed = [text for pair in zip(functions, sums, strict=False) for text in pair]
    development = BitsPerByte(mixed[:DEVELOPMENT])
    tested = BitsPerByte(mixed[DEVELOPMENT : DEVELOPMENT + options.documents])
    best, _ = tune(ensemble, development, "weighted", progress=say)
    rows = compare(ensemble, tested, ["weighted", best], "auto", say)
    return {
        "documents": {"development": len(development), "test": len(tested)},
        "tuned": best.name,
        "rows": [row.as_dict() for row in rows],
    }


def python_documents(count: int, each: int = 4) -> list[str]:
    """Functions of the standard library's tests, a few per file: no bundled model was trained on tests."""
    found: list[str] = []
    for path in sorted(Path(test.__file__ or "").parent.glob("test_*.py")):
        text = path.read_text(encoding="utf-8", errors="replace")
        try:
            nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
        except SyntaxError:  # some files test the parser
            continue
        lines = text.splitlines()
        pieces = ["\n".join(lines[node.lineno - 1 : node.end_lineno]) for node in nodes]
        found += [piece for piece in pieces if 300 <= len(piece) <= 900][:each]
        if len(found) >= count:
            break
    return found[:count]


def harness(options: argparse.Namespace) -> dict[str, Any]:
    """One member through our class and through the harness's `hf` class, on a local task."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from unisono.evals.harness import UnisonoLM

    os.environ["HF_DATASETS_OFFLINE"] = "1"
    ensemble = Ensemble.load(["zoo:skills-m"], dtype="float32")
    theirs = HFLM(pretrained=model_of(ensemble.members[0]), tokenizer=ensemble.tokenizer, max_length=256)
    with tempfile.TemporaryDirectory() as folder:
        names = write_tasks(Path(folder), options.items)
        manager = TaskManager(include_path=folder, include_defaults=False)
        results = [
            simple_evaluate(model, tasks=names, task_manager=manager, bootstrap_iters=0)["results"]
            for model in (UnisonoLM(ensemble), theirs)
        ]
    pairs = {
        f"{task}:{metric}": {"ours": value, "hf": results[1][task][metric]}
        for task in names
        for metric, value in results[0][task].items()
        if isinstance(value, float) and "stderr" not in metric
    }
    return {"metrics": pairs, "largest_difference": max(abs(each["ours"] - each["hf"]) for each in pairs.values())}


def write_tasks(folder: Path, count: int) -> list[str]:
    """Skills as tasks of the harness: choosing, rolling likelihood, generating."""
    asked = items(count, seed=0, pairs=0.3)
    rows = [
        {"prompt": item.prompt, "choices": [item.answer, item.answer[::-1].rstrip() + "a"], "label": 0,
         "answer": item.answer, "text": item.prompt + item.answer}
        for item in asked
    ]  # fmt: skip
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shared = f"dataset_path: json\ndataset_kwargs: {{data_files: {{test: {folder}/data.jsonl}}}}\ntest_split: test\n"
    bodies = {
        "choose": 'output_type: multiple_choice\ndoc_to_text: "{{prompt}}"\ndoc_to_choice: "{{choices}}"\n'
        'doc_to_target: "{{label}}"\ntarget_delimiter: ""\nmetric_list: [{metric: acc}, {metric: acc_norm}]\n',
        "roll": 'output_type: loglikelihood_rolling\ndoc_to_text: ""\ndoc_to_target: "{{text}}"\n'
        "metric_list: [{metric: bits_per_byte}, {metric: byte_perplexity}]\n",
        "write": 'output_type: generate_until\ndoc_to_text: "{{prompt}}"\ndoc_to_target: "{{answer}}"\n'
        'generation_kwargs: {until: ["\\n"], max_gen_toks: 24}\nmetric_list: [{metric: exact_match}]\n',
    }
    for name, body in bodies.items():
        (folder / f"{name}.yaml").write_text(f"task: skills_{name}\n{shared}{body}")
    return [f"skills_{name}" for name in bodies]


def say(what: str) -> None:
    """Progress, on standard error."""
    console.print(f"  {what}", style="dim", highlight=False)


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "quality": quality,
    "speed": speed,
    "bits": bits,
    "harness": harness,
}


def main() -> None:
    """Run the parts asked for and replace their sections."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=sorted(PARTS))
    parser.add_argument("--items", type=int, default=600, help="test items of quality and harness")
    parser.add_argument("--prompts", type=int, default=8, help="of speed")
    parser.add_argument("--repeats", type=int, default=3, help="of speed")
    parser.add_argument(
        "--dtype", nargs="+", choices=["float32", "bfloat16"], default=["float32", "bfloat16"], help="of speed"
    )
    parser.add_argument("--compile", choices=["on", "off"], default="off", help="of speed")
    parser.add_argument("--documents", type=int, default=500, help="test documents of bits")
    parser.add_argument("--gsm8k", type=Path, help="of bits: JSON lines with question and answer")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    report = json.loads(options.output.read_text()) if options.output.exists() else {}
    for part in options.parts:
        say(part)
        report[part] = {"provenance": provenance()} | PARTS[part](options)
        options.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
