"""What ships is what is there: CMake lists, the tree Slicer gets, the wheel, and the catalogue entries."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from Testing.scripts import load_script

from asa import errors

REPOSITORY = Path(__file__).resolve().parents[2]
# Of version 1.0.2 of the catalogue's schema, which allows no others.
CATALOGUE_KEYS = {
    "$schema", "build_dependencies", "build_subdirectory", "category", "dicom_support_rule", "enabled",
    "scm_revision", "scm_type", "scm_url", "tier",
}  # fmt: skip
MODULE_FOLDER = "lib/Slicer-5.10/qt-scripted-modules"

# As much of Slicer's CMake interface as the extension calls, doing what its documentation says of each.
SLICER = """
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR {folder})
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR {folder})
set(Slicer_USE_FILE ${{CMAKE_CURRENT_LIST_DIR}}/empty.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${{CMAKE_CURRENT_LIST_DIR}}/empty.cmake)
set(Slicer_EXTENSION_CPACK ${{CMAKE_CURRENT_LIST_DIR}}/empty.cmake)
enable_testing()

function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MODULE "WITH_GENERIC_TESTS" "NAME" "SCRIPTS;RESOURCES" ${{ARGN}})
  if(MODULE_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "unknown: ${{MODULE_UNPARSED_ARGUMENTS}}")
  endif()
  set(destination ${{CMAKE_BINARY_DIR}}/${{Slicer_QTSCRIPTEDMODULES_LIB_DIR}})
  foreach(file IN LISTS MODULE_SCRIPTS MODULE_RESOURCES)
    if(NOT EXISTS ${{CMAKE_CURRENT_SOURCE_DIR}}/${{file}})
      message(FATAL_ERROR "missing: ${{file}}")
    endif()
    add_custom_command(
      OUTPUT ${{destination}}/${{file}}
      COMMAND ${{CMAKE_COMMAND}} -E copy ${{CMAKE_CURRENT_SOURCE_DIR}}/${{file}} ${{destination}}/${{file}}
    )
    list(APPEND copied ${{destination}}/${{file}})
  endforeach()
  add_custom_target(Copy${{MODULE_NAME}} ALL DEPENDS ${{copied}})
  install(DIRECTORY ${{destination}}/ DESTINATION ${{Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}})
endfunction()

function(slicer_add_python_unittest)
  cmake_parse_arguments(TEST "" "SCRIPT" "" ${{ARGN}})
  get_filename_component(name ${{TEST_SCRIPT}} NAME_WE)
  add_test(NAME py_${{name}} COMMAND Slicer ${{TEST_SCRIPT}})
endfunction()
"""


LISTS = load_script("update_cmake_lists")
MODULES: list[Path] = LISTS.modules()


def listed(cmake: str, mark: str) -> list[str]:
    found = re.search(rf"# >>> {mark}\nset\(\w+\n((?:.*\n)*?)\)\n# <<< {mark}\n", cmake)
    return found.group(1).split() if found else []


@pytest.mark.parametrize("listing", LISTS.listings(), ids=lambda path: path.parent.name)
def test_cmake_lists_every_module_and_every_shipped_file_once(listing: Path) -> None:
    advice = "run Resources/Scripts/update_cmake_lists.py"
    assert listing.is_file(), advice
    cmake = listing.read_text(encoding="utf-8")
    for mark, files in LISTS.listings()[listing].items():
        there, here = listed(cmake, mark), [path.as_posix() for path in files]
        assert [name for name, count in Counter(there).items() if count > 1] == [], f"listed twice; {advice}"
        assert sorted(set(here) - set(there)) == [], f"not listed under {mark}; {advice}"
        assert sorted(set(there) - set(here)) == [], f"listed under {mark} but not there; {advice}"


def test_a_new_module_is_listed_with_its_files(tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text("# >>> modules\nset(MODULES\n)\n# <<< modules\n", encoding="utf-8")
    for name in ("New/New.py", "New/NewLib/part.py", "New/Resources/UI/New.ui", "NoModule/some.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert LISTS.update(tmp_path) == [tmp_path / "CMakeLists.txt", tmp_path / "New" / "CMakeLists.txt"]
    assert listed((tmp_path / "CMakeLists.txt").read_text(encoding="utf-8"), "modules") == ["New"]
    cmake = (tmp_path / "New" / "CMakeLists.txt").read_text(encoding="utf-8")
    assert listed(cmake, "scripts") == ["New.py", "NewLib/part.py"]
    assert listed(cmake, "resources") == ["Resources/UI/New.ui"]
    assert LISTS.update(tmp_path) == []


def test_a_list_is_replaced_between_its_marks_only() -> None:
    before = "a\n# >>> scripts\nset(X\n  old.py\n)\n# <<< scripts\nb\n"
    after = LISTS.with_list(before, "scripts", [Path("n.py"), Path("p/m.py")])
    assert after == "a\n# >>> scripts\nset(X\n  n.py\n  p/m.py\n)\n# <<< scripts\nb\n"
    assert LISTS.with_list(after, "scripts", [Path("old.py")]) == before
    with pytest.raises(ValueError, match="no list"):
        LISTS.with_list(before, "models", [])


@pytest.fixture(scope="module")
def slicer_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The extension configured, built and installed as Slicer would, over a stand-in for Slicer's CMake interface."""
    cmake = (
        Path(pytest.importorskip("cmake", reason="a CMake as new as Slicer's is in this package").CMAKE_BIN_DIR)
        / "cmake"
    )
    if shutil.which("make") is None:
        pytest.skip("make is needed")
    root = tmp_path_factory.mktemp("slicer")
    (root / "SlicerConfig.cmake").write_text(SLICER.format(folder=MODULE_FOLDER), encoding="utf-8")
    (root / "empty.cmake").touch()
    # The extension is Python only; no compiler has to be there for the languages a project has by default.
    options = [f"-DCMAKE_{lang}_COMPILER{end}" for lang in ("C", "CXX") for end in ("=true", "_FORCED=1")]
    options += [f"-DSlicer_DIR={root}", "-DBUILD_TESTING=ON"]
    steps = (
        ["-S", REPOSITORY, "-B", root / "build", "-G", "Unix Makefiles", *options],
        ["--build", root / "build"],
        ["--install", root / "build", "--prefix", root / "install"],
    )
    for step in steps:
        done = subprocess.run(
            [cmake, *map(str, step)], capture_output=True, encoding="utf-8", errors="replace", timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return root


@pytest.mark.parametrize("tree", ["build", "install"])
def test_slicer_gets_engine_module_and_models_in_one_folder(slicer_tree: Path, tree: str) -> None:
    folder = slicer_tree / tree / MODULE_FOLDER
    expected = {path for module in MODULES for path in LISTS.files_below(module)}
    expected |= {Path("Resources/Models") / path for path in LISTS.files_below(REPOSITORY / "Resources" / "Models")}
    assert set(LISTS.files_below(folder)) == expected


def test_the_engine_imports_from_the_slicer_tree(slicer_tree: Path) -> None:
    folder = slicer_tree / "install" / MODULE_FOLDER
    code = "import asa; print(asa.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, encoding="utf-8", errors="replace", timeout=300
    )
    assert Path(done.stdout.strip()) == folder / "asa" / "__init__.py", done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by the build backend itself in this environment."""
    pytest.importorskip("hatchling", reason="hatchling builds the wheel")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, encoding="utf-8", errors="replace", timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_engine_library_and_models(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {
        f"{package}/{path.as_posix()}"
        for package in ("asa", "ASASegmentationLib", "ASASlicerLib")
        for path in LISTS.files_below(REPOSITORY / "ASASegmentation" / package)
    }
    models = LISTS.files_below(REPOSITORY / "Resources" / "Models")
    expected |= {f"asa/Resources/Models/{path.as_posix()}" for path in models}
    assert inside == expected


@pytest.mark.parametrize("install", ["checkout", "wheel", "slicer"])
def test_models_are_found_without_configuration(install: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if install == "checkout":
        root, models = REPOSITORY / "ASASegmentation", REPOSITORY / "Resources" / "Models"
    elif install == "wheel":
        root, models = tmp_path, tmp_path / "asa" / "Resources" / "Models"
        with zipfile.ZipFile(request.getfixturevalue("wheel")) as archive:
            archive.extractall(root)
    else:
        root = request.getfixturevalue("slicer_tree") / "install" / MODULE_FOLDER
        models = root / "Resources" / "Models"
    code = "from asa.models import list_models; print(*(model.path for model in list_models()), sep='\\n')"
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", errors="replace", timeout=300
    )
    assert done.returncode == 0, done.stderr
    shipped = {path.parent.as_posix() for path in LISTS.files_below(REPOSITORY / "Resources" / "Models")} - {"."}
    assert shipped
    assert {Path(line) for line in done.stdout.split()} == {models / name for name in shipped}


def test_catalogue_entries_agree() -> None:
    entry = json.loads((REPOSITORY / "ASASegmentation.json").read_text(encoding="utf-8"))
    assert set(entry) <= CATALOGUE_KEYS, "the catalogue's schema allows no other keys"
    lines = (REPOSITORY / "ASASegmentation.s4ext").read_text(encoding="utf-8").splitlines()
    old = dict(line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))
    cmake = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
    new = dict(re.findall(r'set\(EXTENSION_(\w+)\s+"([^"]*)"\s*\)', cmake))
    assert entry["category"] == old["category"] == new["CATEGORY"] == "Segmentation"
    assert entry["scm_url"] == old["scmurl"] == new["HOMEPAGE"] + ".git"
    assert entry["scm_revision"] == old["scmrevision"]
    assert " ".join(entry["build_dependencies"]) == old["depends"] == new["DEPENDS"] == "PyTorch"
    assert entry["tier"] == int(old["tier"])
    for key in ("homepage", "contributors", "status", "description", "iconurl", "screenshoturls"):
        assert old[key] == new[key.upper()], key


def test_pictures_the_catalogue_shows_are_there() -> None:
    image = pytest.importorskip("PIL.Image")
    cmake = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
    shown = re.findall(r'/main/([^\s"]+\.png)', cmake)
    assert shown
    for path in shown:
        assert (REPOSITORY / path).is_file(), path
    with image.open(REPOSITORY / shown[0]) as icon:
        assert icon.size == (128, 128)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_every_module_has_an_icon_and_tests_for_slicer(module: Path, slicer_tree: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    with image.open(module / "Resources" / "Icons" / f"{module.name}.png") as icon:
        assert icon.size == (128, 128)
    tests = (slicer_tree / "build" / "Testing" / "CTestTestfile.cmake").read_text(encoding="utf-8")
    assert re.search(rf"add_test\W+py_{module.name}\b", tests)


def test_versions_agree() -> None:
    source = (REPOSITORY / "ASASegmentation" / "asa" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"', source, re.MULTILINE)
    assert found
    for name in ("CHANGELOG.md", "CITATION.cff"):
        assert found.group(1) in (REPOSITORY / name).read_text(encoding="utf-8"), f"{name} does not name this version"


def test_whatever_is_told_to_be_installed_is_this_distribution() -> None:
    """`asa` on PyPI is another project."""
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    (name,) = re.findall(r'^name = "(.+)"$', project, re.MULTILINE)
    assert name == errors.DISTRIBUTION != "asa"
    extras = re.findall(r"^([a-z-]+) = \[", project.partition("[project.optional-dependencies]")[2], re.MULTILINE)
    shipped = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("*.toml")]
    for folder in ("ASASegmentation", "ASATraining", "Resources", "Testing"):
        shipped += [path for path in (REPOSITORY / folder).rglob("*") if path.suffix in (".py", ".md", ".ui")]
    named = [
        (path.name, *found)
        for path in shipped
        for found in re.findall(r"""["'](asa[\w-]*|[\w-]*-asa[\w-]*)\[([a-z,-]+)\]""", path.read_text(encoding="utf-8"))
    ]
    assert len(named) >= 5
    assert [one for one in named if one[1] != name or not set(one[2].split(",")) <= set(extras)] == []
    assert errors.install_command("train") == f"pip install '{name}[train]'"
