"""`unisono bench predict`: estimate how much faster each schedule is, before a long measurement."""

from unisono.bench import members, prompts, replay, report
from unisono.bench.choice import BASELINE, Choice
from unisono.bench.provenance import provenance
from unisono.cli.loading import DEFAULT_MEMBERS, members_of, prepare_process, read_config
from unisono.cli.options.bench import PredictOptions
from unisono.cli.result_file import require_writable, write_json
from unisono.cli.signature import given
from unisono.params import SamplingParams


def run(options: PredictOptions) -> None:
    """Decode a few prompts and print the expected speed-up of each schedule. Write the result to the output file."""
    prepare_process()
    require_writable(options.output)
    config = read_config(options.config)
    listed = options.members or members_of(config, options.source) or DEFAULT_MEMBERS
    combination = config.combine if options.combine is None else options.combine
    texts = prompts.read(options.prompts, options.count)
    ensemble = members.load(listed, combination, **given(options.source))
    params = SamplingParams(max_tokens=options.tokens, temperature=options.temperature, ignore_eos=True)
    choices = [Choice.parse(each) for each in options.schedule] or replay.candidates(ensemble, params)
    for choice in choices:
        ensemble.method(params, **choice.overrides)
    record = replay.record(ensemble, texts, params)
    rows = [
        {"schedule": each.label, "replayed": replay.speedup(record, each), "formula": replay.formula(record, each)}
        for each in choices
    ]
    combined = ensemble.method(params, schedule=BASELINE).combination.name
    facts = {"members": ensemble.names, "combination": combined, "temperature": options.temperature}
    facts |= {"cost": record.cost, "acceptances": record.acceptances()}
    facts |= {"milliseconds": [1000 * price[1] for price in record.price]}
    report.show_predictions(facts, rows)
    write_json(options.output, {**provenance(), **facts, "cells": rows})
