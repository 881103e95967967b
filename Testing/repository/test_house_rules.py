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
SHIPPED = [*(REPOSITORY / "ASASegmentation").rglob("*.py"), *(REPOSITORY / "ASATraining").rglob("*.py")]
SCRIPTS = [*(REPOSITORY / "Resources" / "Scripts").rglob("*.py")]
TESTS = [*(REPOSITORY / "Testing").rglob("*.py")]

# From the ground up. A unit imports from its own floor and those below; on a floor the imports form no circle.
# A unit is a file or a folder right below `asa`; each folder of `training` is one, the files beside them are another.
FLOORS: tuple[frozenset[str], ...] = (
    frozenset(
        {
            "errors",
            "files",
            "seeds",
            "volume",
            "geometry",
            "tasks",
            "doubts",
            "metrics",
            "devices",
            "program",
            "entries",
            "interrupts",
        }
    )
    | {"model_description", "request", "image_names", "events", "interrupts", "modalities", "dicom_export", "silence"}
    | {"liveness", "temporary", "memory"},
    frozenset({"nn", "preprocessing", "refinement"}),
    frozenset({"pretext"}),
    frozenset({"data", "synth"}),
    frozenset({"models", "runs"}),
    frozenset({"inference", "training.parallel"}),
    frozenset({"training"}),
    frozenset({"training.pretraining"}),
    frozenset({"training.finetuning"}),
    frozenset({"training.synthetic", "training.planning", "training.publishing", "evaluation", "inspection", "report"})
    | {"longitudinal"},
    frozenset({"reproduce"}),
    frozenset({"jobs"}),
    frozenset({"cohort"}),
    frozenset({"cli", "__main__"}),
)
LEVEL = {unit: level for level, units in enumerate(FLOORS) for unit in units}
# What of ours the libraries of the Slicer modules may import besides themselves. Of the engine it is what needs the
# standard library alone; everything else of it runs in a process of its own.
LIBRARIES: dict[str, frozenset[str]] = {
    "ASASlicerLib": frozenset(
        {"asa.tasks", "asa.events", "asa.temporary", "asa.modalities.matching", "asa.modalities.contrast"},
    ),
    "ASASegmentationLib": frozenset({"ASASlicerLib", "asa.tasks", "asa.models", "asa.request", "asa.events"})
    | {"asa.modalities.matching", "asa.modalities.contrast", "asa.dicom_export.segmentation", "asa.temporary"},
    "ASATrainingLib": frozenset({"ASASlicerLib", "asa.tasks", "asa.models", "asa.events"})
    | {"asa.runs.abilities", "asa.runs.layout", "asa.runs.setting_row", "asa.liveness", "asa.temporary"},
}
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


def dotted(path: Path) -> str:
    """Name of a file of ours as it is imported; of an __init__.py that of its folder."""
    parts = path.relative_to(REPOSITORY).with_suffix("").parts[1:]  # below the folder of the Slicer module
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {dotted(path): path for path in SHIPPED}


@cache
def ours(path: Path) -> frozenset[str]:
    """The files of ours that a file imports, by their dotted names.

    Imports inside functions and under `if TYPE_CHECKING` count like all others: two files that need one another's
    names, be it for annotations only, cannot be understood one after the other. A package that is imported on the way
    to a file in it does not count.
    """
    package = path.relative_to(REPOSITORY).parent.parts[1:]
    found = set()
    for module in imported(parsed(path), package):
        names = [module, module.rpartition(".")[0]]
        found |= set([name for name in names if name in FILES][:1])
    return frozenset(found - {dotted(path)})


def unit_of(module: str) -> str:
    """Unit of the engine that a file belongs to; "" of the package `asa` itself."""
    parts = module.split(".")[1:]
    folder = FILES[module].name == "__init__.py" or len(parts) > 2
    if parts[:1] == ["training"] and len(parts) > 1 and folder:
        return ".".join(parts[:2])
    return parts[0] if parts else ""


def circle(graph: dict[str, set[str]]) -> str:
    """A circle in a graph of imports, "" where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return " -> ".join(error.args[1])
    return ""


ENGINE_FILES = sorted(name for name in FILES if name.split(".")[0] == "asa")


def test_engine_knows_nothing_of_the_application() -> None:
    roots = {name: {module.split(".")[0] for module in imported(parsed(FILES[name]))} for name in ENGINE_FILES}
    assert {name: used & APPLICATION for name, used in roots.items() if used & APPLICATION} == {}


def climbs(module: str) -> Iterator[str]:
    """What an engine file imports from above its floor, or from outside the engine."""
    unit = unit_of(module)
    for other in ours(FILES[module]):
        if other.split(".")[0] in LIBRARIES or not unit:
            yield f"{module} imports {other}"
        elif LEVEL.get(unit_of(other), 0) > LEVEL[unit]:
            yield f"{module} reaches up to {other}"


def test_every_unit_stands_on_a_floor() -> None:
    assert {unit_of(module) for module in ENGINE_FILES} - {""} == set(LEVEL), "give it a floor in FLOORS"


def test_engine_imports_go_down() -> None:
    assert [climb for module in ENGINE_FILES for climb in climbs(module)] == []


@pytest.mark.parametrize("floor", FLOORS, ids=lambda floor: "+".join(sorted(floor)))
def test_no_circle_on_a_floor(floor: frozenset[str]) -> None:
    graph: dict[str, set[str]] = {unit: set() for unit in floor}
    for module in ENGINE_FILES:
        if (unit := unit_of(module)) in floor:
            graph[unit] |= ({unit_of(other) for other in ours(FILES[module])} & floor) - {unit}
    assert circle(graph) == ""


def test_no_circle_of_files() -> None:
    assert circle({module: set(ours(path)) for module, path in FILES.items()}) == ""


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_imports_what_it_may(library: str) -> None:
    used = {other for module, path in FILES.items() if module.split(".")[0] == library for other in ours(path)}
    packages = {other if other.split(".")[0] == "asa" else other.split(".")[0] for other in used} - {library}
    assert packages == LIBRARIES[library]


def test_a_circle_is_seen() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == ""
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}).count("->") == 3


def test_imports_are_absolute() -> None:
    calls = ((path, node) for path in [*SHIPPED, *SCRIPTS, *TESTS] for node in ast.walk(parsed(path)))
    found = {name(path) for path, node in calls if isinstance(node, ast.ImportFrom) and node.level}
    assert {path for path in found if not path.startswith("Testing/standin/qt/")} == set(), "qt stands in for a package"


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
