"""What the modules rely on of PythonQt, asked of the stand-in; and the whole catalogue, where it is at hand."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import qt

REPOSITORY = Path(__file__).resolve().parents[2]


def test_properties_are_values() -> None:
    button = qt.QPushButton("Segment")
    assert button.text == "Segment"
    button.enabled = False
    assert not button.isEnabled()
    with pytest.raises(TypeError):
        button.text()


@pytest.mark.parametrize("value, shown", [(None, "None"), (5, "5"), (Path("a"), "a")])
def test_text_is_made_of_anything(value: object, shown: str) -> None:
    label = qt.QLabel("x")
    label.setText(value)
    assert label.text == shown


def test_a_plain_widget_takes_no_new_attribute() -> None:
    with pytest.raises(AttributeError):
        qt.QPushButton("x").enabledd = False


@pytest.mark.parametrize("name", ["x", "layout", "parent", "close"])
def test_a_subclass_takes_no_attribute_named_like_qts(name: str) -> None:
    class Panel(qt.QWidget):
        pass

    panel = Panel()
    panel.answer = 42
    assert panel.answer == 42
    with pytest.raises(AttributeError):
        setattr(panel, name, 1)


def test_enumerators_are_integers() -> None:
    assert type(qt.Qt.AlignLeft) is int
    label = qt.QLabel("x")
    label.setAlignment(qt.Qt.AlignLeft | qt.Qt.AlignTop)
    assert label.alignment == 33


def test_string_signature_and_trimmed_arguments() -> None:
    heard: list[Any] = []
    button = qt.QPushButton("x")
    assert button.connect("clicked(bool)", lambda: heard.append("none"))
    assert button.connect("clicked(bool)", heard.append)
    assert button.connect("clicked()", lambda *args: heard.append(args))
    assert not button.connect("klicked()", heard.append)
    button.click()
    assert heard == ["none", False, ()]


def test_a_bound_method_is_kept_alive_until_disconnected() -> None:
    class Listener:
        heard = 0

        def hear(self) -> None:
            Listener.heard += 1

    listener = Listener()
    alive = weakref.ref(listener)
    button = qt.QPushButton("x")
    button.connect("clicked()", listener.hear)
    slot = listener.hear
    del listener
    gc.collect()
    assert alive() is not None
    button.click()
    assert button.disconnect("clicked()", slot)
    button.click()
    assert Listener.heard == 1


def test_a_qt_method_as_slot_takes_what_it_can() -> None:
    dialog, button = qt.QDialog(), qt.QPushButton("x")
    dialog.show()
    button.connect("clicked(bool)", dialog.close)
    button.click()
    assert not dialog.isVisible()


def test_keyword_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="keyword arguments"):
        qt.QLabel(text="x")
    with pytest.raises(ValueError, match="keyword arguments"):
        qt.QVBoxLayout().addWidget(qt.QLabel("x"), stretch=1)


def test_wrong_arguments_are_a_value_error() -> None:
    with pytest.raises(ValueError, match="setValue"):
        qt.QSpinBox().setValue("a")


def test_wrapper_classes_do_not_inherit_from_each_other() -> None:
    button = qt.QPushButton("x")
    assert isinstance(button, qt.QPushButton)
    assert not isinstance(button, qt.QWidget)
    assert button.inherits("QWidget")
    assert button.className() == "QPushButton"


def test_what_a_variant_does_to_values() -> None:
    box, thing = qt.QComboBox(), object()
    for value in ([1, "a"], {1: 2}, thing, Path("a")):
        box.addItem("x", value)
    assert [box.itemData(i) for i in range(4)] == [(1, "a"), {"1": 2}, thing, Path("a")]


def test_settings_give_tuples_and_from_a_file_strings(tmp_path: Path) -> None:
    settings = qt.QSettings(str(tmp_path / "a.ini"), qt.QSettings.IniFormat)
    settings.setValue("list", ["a", "b"])
    assert settings.value("list") == ("a", "b")
    assert settings.value("missing") is None
    (tmp_path / "b.ini").write_text("[General]\nflag=true\n", encoding="utf-8")
    assert qt.QSettings(str(tmp_path / "b.ini"), qt.QSettings.IniFormat).value("flag") == "true"


def test_a_deleted_object_is_false_and_refuses() -> None:
    parent = qt.QWidget()
    child = qt.QPushButton("x", parent)
    parent.delete()
    assert not child
    with pytest.raises(ValueError, match="destroyed QPushButton"):
        child.setText("y")


def test_an_object_has_one_wrapper() -> None:
    panel = qt.QWidget()
    column = qt.QVBoxLayout(panel)
    assert panel.layout() is column
    assert panel.children() == (column,)
    button = qt.QPushButton("x", panel)
    button.setObjectName("go")
    assert panel.findChild(qt.QPushButton, "go") is panel.findChild("QPushButton", "go") is button


def test_a_subclass_overrides_and_calls_up() -> None:
    seen: list[str] = []

    class Filter(qt.QObject):
        def eventFilter(self, watched: Any, event: Any) -> bool:
            seen.append(watched.className())
            return bool(super().eventFilter(watched, event))

    class Panel(qt.QWidget):
        chosen = qt.Signal(int)

        def showEvent(self, event: Any) -> None:
            seen.append("shown")
            super().showEvent(event)

    panel, listener = Panel(), Filter()
    panel.installEventFilter(listener)
    panel.show()
    qt.QApplication.processEvents()
    assert "shown" in seen
    assert "Panel" in seen
    numbers: list[int] = []
    panel.chosen.connect(numbers.append)
    panel.chosen.emit(7)
    assert numbers == [7]


def test_a_subclass_that_forgets_its_base() -> None:
    class Panel(qt.QWidget):
        def __init__(self) -> None:
            pass

    with pytest.raises(ValueError, match="destroyed"):
        Panel().show()


def test_static_functions_and_a_property_of_the_same_name() -> None:
    heard: list[int] = []
    qt.QTimer.singleShot(0, lambda: heard.append(1))
    timer = qt.QTimer()
    timer.singleShot = True
    assert timer.singleShot
    while not heard:
        qt.QApplication.processEvents()


def test_a_process_reports_its_end_with_both_arguments() -> None:
    ended: list[tuple[int, int]] = []
    process = qt.QProcess()
    process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: ended.append((code, status)))
    process.start(sys.executable, ["-c", "print('x')"])
    assert process.waitForFinished(30000)
    qt.QApplication.processEvents()
    assert ended == [(0, 0)]
    assert bytes(process.readAllStandardOutput().data()).strip() == b"x"


def test_the_catalogue_of_questions() -> None:
    """At least 120 of the 132 questions that a real PythonQt was asked are answered as it did."""
    data = Path(os.environ.get("ASA_DATA") or REPOSITORY.parent / "shared" / "data")
    probes = data.resolve().parent / "pythonqt" / "probes.py"
    if not probes.is_file():
        pytest.skip(f"the catalogue of PythonQt's answers is not in {probes.parent}")
    command = [sys.executable, str(probes), str(REPOSITORY / "Testing" / "standin")]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=300)
    found = re.search(r"(\d+) of (\d+) questions answered as PythonQt does", done.stdout)
    assert found, done.stdout + done.stderr
    assert int(found.group(1)) >= 120, done.stdout
