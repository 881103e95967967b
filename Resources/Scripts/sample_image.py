"""Copy the MNI152 T1 template that ships inside the nilearn wheel: a real-looking head without a download.

Usage: python sample_image.py DESTINATION.nii.gz
"""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
from pathlib import Path

NAME = "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"


def find() -> Path:
    """Path of the template in the installed wheel, found without importing nilearn (which takes seconds)."""
    for entry in importlib.metadata.files("nilearn") or ():
        if entry.name == NAME:
            return Path(str(entry.locate()))
    raise FileNotFoundError(
        f"{NAME} is not in the installed nilearn; pip install 'slicer-asa[sample]' brings one that has it"
    )


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    destination = Path(arguments[0])
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(find(), destination)
    except (importlib.metadata.PackageNotFoundError, OSError) as error:
        print(f"No sample image: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
