"""Create the virtual environment of the compared systems.

    python Testing/benchmarks/make_peers_environment.py PATH

PATH then holds a Python with antspyx and dipy; pass PATH/bin/python to the benchmarks as ``--peers``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements-peers.txt")


def peers_python(environment: Path) -> Path:
    """The interpreter inside a virtual environment."""
    return environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def create(environment: Path) -> Path:
    """Create (or complete) the environment and return its interpreter.

    Raises:
        subprocess.CalledProcessError: venv or pip failed; its own message is on standard error.
    """
    python = peers_python(environment)
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", "-r", str(REQUIREMENTS)], check=True)
    return python


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="folder of the environment")
    print(create(parser.parse_args().path))
