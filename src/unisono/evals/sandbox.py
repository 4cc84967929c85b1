"""Run each generated program in a separate process with limits.

The limits stop accidents, for example endless loops, full memory and large files. They do not stop an attacker. Use a
container for untrusted models.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile

SECONDS = 10
MEMORY = 2**30  # bytes of address space
FILE = 2**20  # bytes that a program may write into one file

# The child sets its own limits: `preexec_fn` of subprocess is unsafe, because the parent has threads
CHILD = """\
import resource, sys
for kind, value in (("CPU", {seconds}), ("AS", {memory}), ("FSIZE", {file}), ("CORE", 0), ("NPROC", 64)):
    resource.setrlimit(getattr(resource, "RLIMIT_" + kind), (value, value))
exec(compile(sys.stdin.read(), "program", "exec"), {{"__name__": "__main__"}})
"""


def passes(program: str, seconds: float = SECONDS, memory: int = MEMORY) -> bool:
    """Return whether a Python program ends within `seconds` and without an error.

    The program sees no environment variables and no installed packages. It runs in an empty folder, which is deleted
    after the run.
    """
    child = CHILD.format(seconds=int(seconds) + 1, memory=memory, file=FILE)
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", child],
            cwd=folder,
            env={"PATH": "/usr/bin:/bin"},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.communicate(program.encode(), timeout=seconds)
        except subprocess.TimeoutExpired:
            return False
        finally:
            _end(process)
        return process.returncode == 0


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill the process and all processes that the process has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
