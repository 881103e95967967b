"""Rules of the house, read from the source itself: what may import what, how long a file is, what is never loaded."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ENGINE = REPOSITORY / "ASASegmentation" / "asa"
SHIPPED = [*(REPOSITORY / "ASASegmentation").rglob("*.py"), *(REPOSITORY / "ASATraining").rglob("*.py")]
SCRIPTS = [*(REPOSITORY / "Resources" / "Scripts").rglob("*.py")]
TESTS = [*(REPOSITORY / "Testing").rglob("*.py")]

# From the ground up. A unit imports from its own floor and those below; on a floor the imports form no circle.
FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"errors", "files", "seeds", "volume", "geometry", "tasks", "metrics"}),
    frozenset({"nn", "preprocessing"}),
    frozenset({"pretext"}),
    frozenset({"data", "synth"}),
    frozenset({"inference", "training", "models", "runs"}),
    frozenset({"evaluation", "inspection", "report", "reproduce"}),
    frozenset({"cli", "batch", "job", "__main__"}),
)
LEVEL = {unit: level for level, units in enumerate(FLOORS) for unit in units}
LIBRARIES = {"ASASlicerLib", "ASASegmentationLib", "ASATrainingLib"}
APPLICATION = {"slicer", "qt", "ctk", "vtk", "mrml", "vtkmodules", "PythonQt"}
# Code under licences that this one cannot carry.
COPYLEFT = {"medpy", "cc3d", "edt", "PyQt5", "PyQt6"}


def name(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.AST, package: tuple[str, ...] = ()) -> Iterator[str]:
    """Dotted names a module imports anywhere in it, also inside functions and through importlib.

    package: the dotted parts of the package the module lies in, to resolve relative imports.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *([node.module] if node.module else [])))
            # "from asa import volume" names the module in the alias, "from asa.volume import Volume" before it.
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.args[0].value


def engine_imports(path: Path) -> set[str]:
    package = ("asa", *path.relative_to(ENGINE).parent.parts)
    return set(imported(parsed(path), package))


def unit_of(path: Path) -> str:
    first = path.relative_to(ENGINE).parts[0]
    return first.removesuffix(".py")


ENGINE_FILES = sorted(ENGINE.rglob("*.py"))


def test_engine_knows_nothing_of_the_application() -> None:
    roots = {name(path): {module.split(".")[0] for module in engine_imports(path)} for path in ENGINE_FILES}
    assert {path: used & APPLICATION for path, used in roots.items() if used & APPLICATION} == {}


def climbs(path: Path) -> Iterator[str]:
    """What an engine file imports from above its floor, or from outside the engine."""
    unit = unit_of(path)
    for module in engine_imports(path):
        parts = module.split(".")
        if parts[0] in ("ASASegmentationLib", "ASASlicerLib", "ASATrainingLib") or (
            unit == "__init__" and parts[0] == "asa"
        ):
            yield f"{name(path)} imports {module}"
        elif parts[0] == "asa" and LEVEL.get("".join(parts[1:2]), 0) > LEVEL[unit]:
            yield f"{name(path)} reaches up to {module}"


def test_every_unit_stands_on_a_floor() -> None:
    assert {unit_of(path) for path in ENGINE_FILES} - {"__init__"} <= set(LEVEL), "give it a floor in FLOORS"


def test_engine_imports_go_down() -> None:
    assert [climb for path in ENGINE_FILES for climb in climbs(path)] == []


@pytest.mark.parametrize("floor", FLOORS, ids=lambda floor: "+".join(sorted(floor)))
def test_no_circle_on_a_floor(floor: frozenset[str]) -> None:
    graph: dict[str, set[str]] = {unit: set() for unit in floor}
    for path in ENGINE_FILES:
        if (unit := unit_of(path)) in floor:
            used = {module.split(".")[1] for module in engine_imports(path) if module.startswith("asa.")}
            graph[unit] |= (used & floor) - {unit}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        pytest.fail(f"circle of imports: {' -> '.join(circle.args[1])}")


def test_a_file_is_one_sitting() -> None:
    lengths = {name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in [*SHIPPED, *SCRIPTS]}
    assert {path: lines for path, lines in lengths.items() if lines > 400} == {}


def test_no_copyleft() -> None:
    roots = {name(path): {module.split(".")[0] for module in imported(parsed(path))} for path in [*SHIPPED, *SCRIPTS]}
    assert {path: used & COPYLEFT for path, used in roots.items() if used & COPYLEFT} == {}


def unsafe_calls(tree: ast.AST) -> Iterator[str]:
    """Calls that build objects from a file and could run what it says."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        keywords = {word.arg: word.value for word in node.keywords}
        if re.fullmatch(r"(c?pickle|dill|joblib|marshal)\.(loads?|Unpickler)", called) or called in ("eval", "exec"):
            yield called
        if called == "torch.load":
            safe = keywords.get("weights_only")
            if not (isinstance(safe, ast.Constant) and safe.value is True):
                yield f"{called} without weights_only=True"
        if called == "yaml.load":
            yield called
        if called in ("np.load", "numpy.load"):
            allowed = keywords.get("allow_pickle")
            if isinstance(allowed, ast.Constant) and allowed.value is not False:
                yield f"{called} with allow_pickle"


def test_files_are_data_never_code() -> None:
    assert [(name(path), call) for path in [*SHIPPED, *SCRIPTS] for call in unsafe_calls(parsed(path))] == []


def test_unsafe_calls_are_seen() -> None:
    source = "import torch, pickle\ntorch.load(f)\npickle.loads(b)\ntorch.load(f, weights_only=True)\nnp.load(f)"
    assert list(unsafe_calls(ast.parse(source))) == ["torch.load without weights_only=True", "pickle.loads"]


def test_what_other_programs_say_is_read_as_utf_8() -> None:
    # text=True takes the locale's encoding: ASCII in some processes, the code page on Windows
    calls = ((path, node) for path in [*SHIPPED, *SCRIPTS, *TESTS] for node in ast.walk(parsed(path)))
    words = {"text", "universal_newlines"}
    found = [
        f"{name(path)}:{node.lineno}"
        for path, node in calls
        if isinstance(node, ast.Call) and words & {word.arg for word in node.keywords}
        if ast.unparse(node.func).split(".")[0] == "subprocess"
    ]
    assert found == []


def test_relative_and_lazy_imports_are_seen() -> None:
    source = "from ..volume import Volume\nfrom . import b\ndef f():\n    import slicer\n    import_module('qt')"
    assert set(imported(ast.parse(source), ("asa", "nn"))) == {"asa.volume.Volume", "asa.nn.b", "slicer", "qt"}


def test_no_path_of_one_machine() -> None:
    # Written apart, or this file would find itself.
    homes = "|".join(("ho" + "me", "Us" + "ers", "ro" + "ot", "wo" + "rk", "fa" + "rm", "o" + "pt"))
    pattern = re.compile(rf"""["'\s(](/({homes})/[\w.-]+)""")
    texts = {name(path): path.read_text(encoding="utf-8") for path in [*SHIPPED, *SCRIPTS, *TESTS]}
    assert {path: found.group(1) for path, text in texts.items() if (found := pattern.search(text))} == {}


def asserts(tree: ast.AST) -> bool:
    """Whether something is checked: by assert, pytest.raises or a method of unittest."""
    called = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    plain = any(isinstance(node, ast.Assert) for node in ast.walk(tree))
    return plain or "raises" in called or any(attribute.startswith("assert") for attribute in called)


def test_a_test_file_asserts() -> None:
    assert [name(path) for path in TESTS if path.name.startswith("test_") and not asserts(parsed(path))] == []
