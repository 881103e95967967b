"""Rules of the house, read from the source itself: what may import what, how long a file is, what is never loaded."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
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
    frozenset({"errors", "files", "volume", "geometry", "tasks", "metrics"}),
    frozenset({"nn"}),
    frozenset({"pretext"}),
    frozenset({"data", "synth"}),
    frozenset({"inference", "training", "models"}),
    frozenset({"report", "reproduce"}),
    frozenset({"cli", "batch", "job", "__main__"}),
)
LEVEL = {unit: level for level, units in enumerate(FLOORS) for unit in units}
APPLICATION = {"slicer", "qt", "ctk", "vtk", "mrml", "vtkmodules", "PythonQt"}
# Code under licences that this one cannot carry.
COPYLEFT = {"medpy", "cc3d", "edt", "PyQt5", "PyQt6"}


def name(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


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
    return set(imported(ast.parse(path.read_text(encoding="utf-8")), package))


def unit_of(path: Path) -> str:
    first = path.relative_to(ENGINE).parts[0]
    return first.removesuffix(".py")


ENGINE_FILES = sorted(ENGINE.rglob("*.py"))


@pytest.mark.parametrize("path", ENGINE_FILES, ids=name)
def test_engine_knows_nothing_of_the_application(path: Path) -> None:
    roots = {module.split(".")[0] for module in engine_imports(path)}
    assert not roots & APPLICATION


@pytest.mark.parametrize("path", ENGINE_FILES, ids=name)
def test_engine_imports_go_down(path: Path) -> None:
    unit = unit_of(path)
    if unit == "__init__":
        assert not {module for module in engine_imports(path) if module.startswith("asa.")}, "importing asa is free"
        return
    assert unit in LEVEL, f"asa.{unit} stands on no floor: give it one in FLOORS"
    for module in engine_imports(path):
        parts = module.split(".")
        if parts[0] == "asa" and parts[1] != "__version__":
            assert LEVEL.get(parts[1], -1) >= 0, f"{module} stands on no floor"
            assert LEVEL[parts[1]] <= LEVEL[unit], f"asa.{unit} reaches up to {module}"
        assert parts[0] not in ("ASASegmentationLib", "ASATrainingLib"), f"asa.{unit} reaches out to {module}"


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


@pytest.mark.parametrize("path", [*SHIPPED, *SCRIPTS], ids=name)
def test_a_file_is_one_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", [*SHIPPED, *SCRIPTS], ids=name)
def test_no_copyleft(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not {module.split(".")[0] for module in imported(tree)} & COPYLEFT


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


@pytest.mark.parametrize("path", [*SHIPPED, *SCRIPTS], ids=name)
def test_files_are_data_never_code(path: Path) -> None:
    assert not list(unsafe_calls(ast.parse(path.read_text(encoding="utf-8"))))


def test_unsafe_calls_are_seen() -> None:
    source = "import torch, pickle\ntorch.load(f)\npickle.loads(b)\ntorch.load(f, weights_only=True)\nnp.load(f)"
    assert list(unsafe_calls(ast.parse(source))) == ["torch.load without weights_only=True", "pickle.loads"]


def test_relative_and_lazy_imports_are_seen() -> None:
    source = "from ..volume import Volume\nfrom . import b\ndef f():\n    import slicer\n    import_module('qt')"
    assert set(imported(ast.parse(source), ("asa", "nn"))) == {"asa.volume.Volume", "asa.nn.b", "slicer", "qt"}


@pytest.mark.parametrize("path", [*SHIPPED, *SCRIPTS, *TESTS], ids=name)
def test_no_path_of_one_machine(path: Path) -> None:
    # Written apart, or this file would find itself.
    homes = "|".join(("ho" + "me", "Us" + "ers", "ro" + "ot", "wo" + "rk", "fa" + "rm", "o" + "pt"))
    found = re.search(rf"""["'\s(](/({homes})/[\w.-]+)""", path.read_text(encoding="utf-8"))
    assert found is None, f"{found and found.group(1)} exists on one machine only"


@pytest.mark.parametrize("path", [path for path in TESTS if path.name.startswith("test_")], ids=name)
def test_a_test_asserts(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    assert functions, "a test file without tests"
    asserting = [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    called = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert asserting or "raises" in called or any(attribute.startswith("assert") for attribute in called)
