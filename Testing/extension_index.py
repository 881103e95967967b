"""Run the checker of Slicer's extension index on this extension, with its downloads answered from local files.

Usage: python -m Testing.extension_index INDEX [--without MODEL ...]

INDEX is a clone of https://github.com/Slicer/ExtensionsIndex. Its checker is taken at the commit below and needs Python
3.12 and the packages jsonschema and requests. What it would clone is the public repository that
Resources/Scripts/public_repository.py makes of HEAD. What it cannot see here: whether the repository on GitHub is
public and has the topic `3d-slicer-extension`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import runpy
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

from Testing.scripts import load_script

REPOSITORY = Path(__file__).resolve().parents[1]
COMMIT = "07f1d1b2781c7dd9f6e2a9f5521b3ed43631724c"
ENTRY = REPOSITORY / "ASASegmentation.json"


def publisher() -> ModuleType:
    """Resources/Scripts/public_repository.py as a module."""
    return load_script("public_repository")


def answer(url: str, index: Path, public: Path) -> SimpleNamespace:
    """What a server would send for a URL that the checker asks for."""
    if "/topics" in url:
        return SimpleNamespace(status_code=200, text="", json=lambda: {"names": ["3d-slicer-extension"]})
    if "/Schemas/" in url:
        schema = json.loads((index / "schemas" / url.rsplit("/", 1)[1]).read_text(encoding="utf-8"))
        return SimpleNamespace(raise_for_status=lambda: None, json=lambda: schema)
    path = public / url.split("/main/", 1)[1]
    if not path.is_file():
        import requests

        raise requests.RequestException(f"404: {url}")
    kind = "image/png" if path.read_bytes().startswith(b"\x89PNG") else "text/plain"
    return SimpleNamespace(raise_for_status=lambda: None, headers={"Content-Type": kind})


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the extension index's checker on this extension.")
    parser.add_argument("index", type=Path, help="clone of Slicer/ExtensionsIndex")
    parser.add_argument("--without", nargs="*", default=[], metavar="MODEL", help="models the public repository lacks")
    options = parser.parse_args()
    if sys.version_info < (3, 12):
        print("The checker needs Python 3.12 or later.", file=sys.stderr)
        return 1
    import requests

    with tempfile.TemporaryDirectory(prefix="extension-index-") as scratch:
        public, index = Path(scratch) / "public", Path(scratch) / "index"
        publish = publisher()
        try:
            publish.make(public, options.without)
        except publish.Refused as error:
            print(f"Error: {error}", file=sys.stderr)
            return 1
        tree = subprocess.run(
            ["git", "-C", str(options.index), "archive", "--format=tar", COMMIT], capture_output=True, check=True
        )
        with tarfile.open(fileobj=io.BytesIO(tree.stdout)) as archive:
            archive.extractall(index, filter="data")
        entry = index / ENTRY.name
        entry.write_bytes(ENTRY.read_bytes())
        source = json.loads(entry.read_text(encoding="utf-8"))["scm_url"]
        os.environ |= {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.file://{public}.insteadOf",
            "GIT_CONFIG_VALUE_0": source,
        }
        requests.get = lambda url, **_: answer(url, index, public)
        os.chdir(index)
        sys.argv = ["check_description_files.py", entry.name]
        try:
            runpy.run_path(str(index / "scripts" / sys.argv[0]), run_name="__main__")
        except SystemExit as left:
            return int(left.code or 0)
        finally:
            os.chdir(REPOSITORY)
    return 1


if __name__ == "__main__":
    sys.exit(main())
