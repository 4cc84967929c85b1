"""Proof that a change of the code changes no text: seeded requests, recorded on one commit and compared on another.

    python benchmarks/texts.py record texts.json     # on the old commit; here with PYTHONPATH=OLD/src, if that is elsewhere
    python benchmarks/texts.py compare texts.json    # on the new one; prints each difference, exit status 1 if there is one
    python benchmarks/texts.py compare texts.json --only '^server'    # the requests whose names match

The requests are in texts_cases.py: float32, through the library and through `unisono serve`, all combinations, schedules and
verifications, batches of 1 to 8 rows. Both files use public names only, so they run unchanged on many commits. Kept are a
digest of the text, token ids, the reason for the end, who proposed each token, log-probabilities (equal to 1e-5), and
counts: forwards, proposed, decided and accepted tokens, rounds. Of the schedule `auto` only the text, its tokens and the
reason for the end are kept, since its counts depend on measured times. Torch uses one thread and members are not compiled:
numbers depend neither on the cores nor on compiled files that an earlier run has left.
"""

import argparse
import hashlib
import itertools
import json
import math
import os
import re
import reprlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import torch
from texts_cases import EXACT, LINEUPS, MESSAGES, PAIRS, SERVED, TEMPLATE, Case, cases, served_requests

from unisono import Ensemble, Result, Score

TOLERANCE = 1e-5  # of log-probabilities
COUNTS = ("forwards", "proposed", "decided", "accepted", "decided_by_position", "accepted_by_position", "lengths")
SERVED_COUNTS = ("proposed", "accepted", "forward_passes", "decided_by_position", "accepted_by_position", "lengths")
Record = dict[str, Any]


def run(pattern: str) -> dict[str, Record]:
    """Records of the requests that match, by name: the case and the number of the request in it."""
    torch.set_num_threads(1)
    wanted = [case for case in cases() if re.search(pattern, case.name)]
    records: dict[str, Record] = {}
    for lineup, group in itertools.groupby(sorted(wanted, key=lambda case: case.lineup), lambda case: case.lineup):
        ensemble = Ensemble.load(**LINEUPS[lineup])
        for case in group:
            records |= named(case.name, answers(ensemble, case))
    served = {name: request for name, request in served_requests() if re.search(pattern, name)}
    if served:
        with server() as client:
            for name, (path, body) in served.items():
                records |= named(name, [ask(client, path, body)])
    plain: dict[str, Record] = json.loads(json.dumps(records))  # as it comes back from a file
    return plain


def named(case: str, records: Sequence[Record]) -> dict[str, Record]:
    print(f"{case}: {records[0]['error']}" if "error" in records[0] else case, file=sys.stderr)
    return {f"{case} #{number}": record for number, record in enumerate(records)}


def answers(ensemble: Ensemble, case: Case) -> list[Record]:
    """What a case yields, one record per request; an error is a record too, so that the other cases still run."""
    try:
        if case.call == "score":
            return [of_score(score) for score in ensemble.logprobs(*PAIRS, combine=case.method["combine"])]
        if case.call == "stream":
            return [streamed(ensemble, prompt, case) for prompt in case.prompts]
        if case.call == "chat":
            ensemble.tokenizer.chat_template = TEMPLATE
            return [of_result(ensemble.chat(MESSAGES, case.params[0], **case.method))]
        results = ensemble.generate(list(case.prompts), list(case.params), progress=False, **case.method)
        return [of_result(result) for result in results]
    except Exception as error:
        return [{"error": f"{type(error).__name__}: {error}"}]


def streamed(ensemble: Ensemble, prompt: Any, case: Case) -> Record:
    pieces = list(ensemble.stream(prompt, case.params[0], **case.method))
    result = pieces[-1].result
    assert result is not None
    return of_result(result) | {"pieces": [piece.text for piece in pieces]}


def of_result(result: Result) -> Record:
    record = {"text": digest(result.text), "tokens": result.token_ids, "finish": result.finish_reason}
    if result.schedule.startswith("auto"):
        return record
    stats = result.stats
    return record | {
        "verification": result.verification,
        "origins": [f"{commit.origin} {commit.member}" for commit in result.commits],
        "logprobs": result.logprobs,
        "top_logprobs": [sorted(each.items()) for each in result.top_logprobs or ()],
        "prompt_logprobs": result.prompt_logprobs,
        "rounds": stats.rounds,
        **{member.name: {name: getattr(member, name) for name in COUNTS} for member in (*stats.members, stats.lookup)},
    }


def of_score(score: Score) -> Record:
    return {"tokens": score.token_ids, "logprobs": score.logprobs, "is_greedy": score.is_greedy}


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextmanager
def server() -> Iterator[httpx.Client]:
    """A client of `unisono serve`, which is a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "served.yaml"
        config.write_text(json.dumps({"models": SERVED, "members_alone": True}), encoding="utf-8")
        options = ["--config", str(config), "--port", str(port), "--chat-template", "plain"]
        options += [word for name, value in EXACT.items() for word in (f"--{name}", value)]
        command = [sys.executable, "-m", "unisono", "serve", *options]
        with (
            subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"}
            ) as process,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600) as client,
        ):
            try:
                wait_until_ready(process, client)
                yield client
            finally:
                process.kill()


def wait_until_ready(process: "subprocess.Popen[bytes]", client: httpx.Client) -> None:
    while process.poll() is None:
        try:
            client.get("/ready").raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise SystemExit(f"unisono serve ended with status {process.returncode}; run it by hand to see why")


def ask(client: httpx.Client, path: str, body: Mapping[str, Any]) -> Record:
    """What the server answers, in one piece or in chunks."""
    content = client.post(path, json=body).text
    lines = [line.removeprefix("data: ") for line in content.splitlines() if line.startswith("data: {")]
    chunks = [json.loads(line) for line in lines or [content]]
    if failed := [chunk["error"] for chunk in chunks if "error" in chunk]:
        return {"error": failed[0]["message"]}
    record: Record = {"usage": chunks[-1].get("usage")}
    for choice in [choice for chunk in chunks for choice in chunk["choices"]]:
        add(record.setdefault(f"choice {choice['index']}", {"text": "", "finish": None}), choice)
    if body["collaboration"]["schedule"] == "auto":
        return record
    observed = [chunk["unisono"] for chunk in chunks if "unisono" in chunk]
    record["trace"] = [
        [each["tokens"], *(each["turn"][key] for key in ("forwards", "proposed", "accepted"))] for each in observed
    ]
    return record | counted(chunks[-1].get("metrics"))


def add(kept: Record, choice: Mapping[str, Any]) -> None:
    """Add what a chunk, or a whole answer, says about a choice."""
    said = choice.get("message") or choice.get("delta") or {"content": choice.get("text")}
    kept["text"] += said.get("content") or ""
    kept["finish"] = choice["finish_reason"] or kept["finish"]
    for name, values in (choice.get("logprobs") or {}).items():
        kept[name] = kept.get(name, []) + (values or [])


def counted(metrics: Mapping[str, Any] | None) -> Record:
    if not metrics or not metrics["collaboration"]:
        return {}
    members = metrics["collaboration"]["members"]
    return {
        "rounds": metrics["collaboration"]["rounds"],
        "speculative_decoding": metrics["speculative_decoding"],
        **{name: {key: member[key] for key in SERVED_COUNTS} for name, member in members.items()},
    }


def differences(old: Any, new: Any, field: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Field, old value and new value of every difference; of a list only its first one."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            yield from differences(old.get(key), new.get(key), f"{field}.{key}".lstrip("."))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        yield from itertools.islice((each for i, pair in pairs for each in differences(*pair, f"{field}[{i}]")), 1)
    elif not same(old, new):
        yield field, old, new


def same(old: Any, new: Any) -> bool:
    if isinstance(old, float) and isinstance(new, float):
        return math.isclose(old, new, rel_tol=0, abs_tol=TOLERANCE)
    return bool(old == new)


def compare(old: Mapping[str, Record], new: Mapping[str, Record]) -> list[str]:
    """A line for each difference: request, field, old value, new value."""
    found = []
    for name in {**old, **new}:
        if name in old and name in new:
            each = [
                f"{field}: {reprlib.repr(a)} -> {reprlib.repr(b)}" for field, a, b in differences(old[name], new[name])
            ]
            found += [f"{name}: {line}" for line in each]
        else:
            found.append(f"{name}: request: " + ("recorded -> missing" if name in old else "missing -> new"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("record", "compare"))
    parser.add_argument("file", type=Path)
    parser.add_argument(
        "--only", default="", metavar="PATTERN", help="a regular expression; requests whose names match"
    )
    given = parser.parse_args()
    if given.command == "record":
        records = run(given.only)
        given.file.write_text(json.dumps(records), encoding="utf-8")
        failed = sum("error" in record for record in records.values())
        raise SystemExit(f"{failed} of {len(records)} cases ended with an error, see above" if failed else 0)
    recorded = json.loads(given.file.read_text(encoding="utf-8"))
    old = {name: record for name, record in recorded.items() if re.search(given.only, name.rpartition(" #")[0])}
    found = compare(old, run(given.only))
    print("\n".join([*found, f"{len(old)} requests compared, {len(found)} differences"]))
    raise SystemExit(bool(found))


if __name__ == "__main__":
    main()
