"""Compiled files of earlier runs: verdicts, folders that cannot be written, weights that cannot be read. Nothing compiles."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests import tiny
from tests.members.test_rounding import MISTAKES
from unisono.errors import MemberError
from unisono.members.hf import acquire, artifact, probe
from unisono.members.hf.member import HFMember
from unisono.members.hf.step import Step, Traced


class Kept(Traced):
    """A step in place of one that an earlier run has compiled."""

    def __init__(self, step: Step, path: Path) -> None:
        super().__init__(step)
        self.path = path


@pytest.fixture
def member(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HFMember:
    """A member for which an earlier run has kept a wrong forward."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    artifact.folder().mkdir(parents=True)
    found = HFMember(tiny.build("llama").to(torch.bfloat16), "llama")
    path = artifact.place(found.model, found.context_length)
    path.write_bytes(b"a compiled forward")
    monkeypatch.setattr(acquire, "find", lambda _: Kept(MISTAKES["a layer skipped"](found), path))
    return found


def test_a_verdict_holds_for_the_test_that_wrote_it(member: HFMember, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What a laxer version of the test has accepted is tested again."""
    with monkeypatch.context() as patch:
        (tmp_path / "probe.py").write_text("a laxer test", encoding="utf-8")
        patch.setattr(probe, "SOURCES", (tmp_path / "probe.py",))
        patch.setattr(acquire, "fault", lambda _: "")
        member.compile("auto")
        assert member.compiled
    member._step = None
    with pytest.warns(UserWarning, match="they give other scores than the model"):
        member.compile("auto")
    assert not member.compiled


def test_a_bad_file_in_a_folder_that_cannot_be_written(member: HFMember, monkeypatch: pytest.MonkeyPatch):
    """`auto` warns and names the file, and `on` compiles another one or says why it cannot."""

    def deny(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", deny)
    monkeypatch.setattr(Path, "mkdir", deny)
    monkeypatch.setattr(acquire, "require_support", lambda _: None)
    with pytest.warns(UserWarning, match=r"other scores than the model.*delete .*pt2.*Permission denied"):
        member.compile("auto")
    assert not member.compiled
    with pytest.raises(
        MemberError, match=r"compile='on': the folder for compiled forwards cannot be made .*Permission"
    ):
        member.compile("on")


class Packed:
    """In place of a quantized weight."""

    dtype = torch.int8
    shape = (3,)


def test_weights_that_are_no_plain_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`on` says which weight it is; `auto` says it if there are compiled files at all."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    member = HFMember(tiny.build("llama"), "llama")
    weights = member.model.state_dict()
    monkeypatch.setattr(member.model, "state_dict", lambda: weights | {"packed": Packed()})
    monkeypatch.setattr(acquire, "require_support", lambda _: None)
    member.compile("auto")
    artifact.folder().mkdir(parents=True)
    (artifact.folder() / "other.pt2").write_bytes(b"")
    with pytest.warns(
        UserWarning, match="llama runs without compiled forwards: its weight packed is not a plain tensor"
    ):
        member.compile("auto")
    with pytest.raises(MemberError, match="compile='on': its weight packed is not a plain tensor but of type Packed"):
        member.compile("on")
