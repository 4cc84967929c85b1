"""`unisono fit-tree`: fit CoSD's decision tree to texts with known answers."""

from unisono.bench.provenance import provenance
from unisono.cli.loading import load_ensemble
from unisono.cli.options.fit_tree import FitTreeOptions
from unisono.cli.options.load import LoadOptions
from unisono.cli.result_file import require_writable
from unisono.combine.tree import rules, write_tree
from unisono.errors import ConfigurationError, RequestError
from unisono.evals.fit import examples, fit
from unisono.evals.skills import items
from unisono.evals.texts import read_records

SKILL_MEMBERS = ["zoo:skills-m", "zoo:skills-n"]


def run(options: FitTreeOptions) -> None:
    """Fit the tree, print its rules and write the tree to a file."""
    require_writable(options.output)
    records = _records(options)
    ensemble = load_ensemble(LoadOptions(options.members or SKILL_MEMBERS, source=options.source))
    features, labels = examples(ensemble, records)
    tree = fit(features, labels, options.depth, options.leaf)
    print(f"{len(labels)} positions where exactly one is right, {int(labels.sum())} of them the assistant")
    print("\n".join(rules(tree)))
    notes = {"members": ensemble.names, "texts": len(records), "positions": len(labels), "provenance": provenance()}
    try:
        write_tree(tree, options.output, **notes)
    except OSError as error:
        raise ConfigurationError(f"the tree cannot be written: {options.output} ({error.strerror})") from None
    print(f"written to {options.output}; use it as --combine cosd_tree:{options.output}")


def _records(options: FitTreeOptions) -> list[dict[str, str]]:
    if (options.texts is None) == (options.skills is None):
        raise RequestError("give a file of texts or --skills N, one of the two")
    if options.texts:
        return read_records(options.texts, ["prompt", "answer"])
    count = options.skills or 0
    if count < 1:
        raise RequestError(f"--skills must be 1 or more, not: {count}")
    # Each item has two skills, because longer texts have more positions and give a better tree (docs/log.md)
    made = items(count, options.seed, "development", pairs=1.0)
    return [{"prompt": item.prompt, "answer": item.answer} for item in made]
