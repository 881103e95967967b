"""Software bill of materials: what ASA stands on, with versions and licences, as CycloneDX 1.5.

    python Resources/Scripts/sbom.py [--extra train ...] > sbom.json

Lists the packages that are installed here and that slicer-asa needs, directly or not. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution

DISTRIBUTION = "slicer-asa"
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_EXTRAS = re.compile(r"\[([^\]]*)\]")
_OF_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")
# Licences under which a program that contains the package would have to be distributed.
COPYLEFT = re.compile(r"\b(A|L)?GPL|GNU (Affero |Lesser |Library )?General Public", re.IGNORECASE)


def normalised(name: str) -> str:
    """Return a package name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(package: Distribution, extras: Iterable[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield name and extras of what a package needs, with these extras of its own."""
    for text in package.requires or ():
        requirement, _, marker = text.partition(";")
        of = _OF_EXTRA.findall(marker)
        if of and not set(of) & set(extras):
            continue
        found = _NAME.match(requirement.strip())
        inner = _EXTRAS.search(requirement)
        if found:
            yield found.group(), tuple(one.strip() for one in inner.group(1).split(",")) if inner else ()


def needed(extras: Iterable[str]) -> dict[str, Distribution]:
    """Return every installed package that slicer-asa needs with these extras, by normalised name, itself included."""
    found: dict[str, Distribution] = {}
    waiting: list[tuple[str, tuple[str, ...]]] = [(DISTRIBUTION, tuple(extras))]
    seen: set[tuple[str, tuple[str, ...]]] = set()
    while waiting:
        name, wanted = waiting.pop()
        if (normalised(name), wanted) in seen:
            continue
        seen.add((normalised(name), wanted))
        try:
            package = distribution(name)
        except PackageNotFoundError:  # of another system, or of an extra that is not installed
            continue
        found[normalised(name)] = package
        waiting += requirements(package, wanted)
    return dict(sorted(found.items()))


def licence(package: Distribution) -> str:
    """Return the licence that a package states, by its expression, its classifiers or the first line of its text."""
    facts = package.metadata
    if expression := facts.get("License-Expression"):
        return expression
    classifiers = [one.split(" :: ")[-1] for one in facts.get_all("Classifier") or () if one.startswith("License ::")]
    text = (facts.get("License") or "").strip().splitlines()
    return ", ".join(classifiers) or (text[0] if text else "not stated")


def bill(extras: Iterable[str]) -> dict[str, object]:
    """Return the bill of materials."""
    packages = needed(extras)
    own = packages.pop(DISTRIBUTION, None)
    version = own.version if own else "not installed"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": DISTRIBUTION, "version": version}},
        "components": [
            {
                "type": "library",
                "name": package.metadata["Name"],
                "version": package.version,
                "purl": f"pkg:pypi/{name}@{package.version}",
                "licenses": [{"license": {"name": licence(package)}}],
            }
            for name, package in packages.items()
        ],
    }


def main() -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extra", action="append", default=[], help="extra of slicer-asa, such as train; repeatable")
    json.dump(bill(parser.parse_args().extra), sys.stdout, indent=2)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
