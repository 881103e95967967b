"""What all tests share: where the real heads are, how many threads there are, and that nothing reaches the network."""

from __future__ import annotations

import os
import re
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

# Before any library reads them. Parallel test processes take one thread each; child processes inherit this.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
    if "PYTEST_XDIST_WORKER" in os.environ:  # it has inherited what the process that shares out the tests has set
        os.environ[_variable] = "1"
    else:
        os.environ.setdefault(_variable, "2")
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
# A shell gives its background jobs a deaf ear to Ctrl-C, which the programs that are tested would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # and nohup to that of a hang-up
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
# Neither the models nor the queue of whoever runs the tests.
os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp(prefix="asa-tests-")

_begun = time.monotonic()


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """On Windows: leave out files that kill by signals, measure with ``resource``, or run shell scripts."""
    if os.name != "nt" or collection_path.suffix != ".py":
        return None
    needed = re.search(
        r"SIGKILL|killpg|^import resource|/bin/sh", collection_path.read_text(encoding="utf-8"), re.MULTILINE
    )
    return True if needed else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """CI has an end, and processors differ threefold: past $ASA_TEST_MINUTES no slow test is begun any more."""
    minutes = float(os.environ.get("ASA_TEST_MINUTES", "inf"))
    if item.get_closest_marker("slow") and time.monotonic() - _begun >= 60 * minutes:
        pytest.skip(f"a slow test, not begun after {minutes:g} minutes of tests (ASA_TEST_MINUTES)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "data_root" in getattr(item, "fixturenames", ()):
            item.add_marker("needs_data")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of real heads: $ASA_DATA, or ../shared/data next to the checkout. Skips where it is missing."""
    root = Path(os.environ.get("ASA_DATA") or REPOSITORY.parent / "shared" / "data")
    if not (root / "MANIFEST.tsv").is_file():
        pytest.skip(f"no real heads in {root}; set ASA_DATA to their folder")
    return root


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Connections leave this machine in no test; several processes may still talk to each other on it."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost", socket.gethostname()):
            raise AssertionError(f"a test tried to reach {address[0]}")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield
