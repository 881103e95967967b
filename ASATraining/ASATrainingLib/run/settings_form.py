"""Table of settings (name, editor, unit) with validation while typing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from ASATrainingLib.run.setting import Setting

_WRONG = "QLineEdit { border: 1px solid #d9453d; color: #d9453d; background: transparent; }"
_ROW_PX = 26
_NAME, _VALUE, _UNIT = range(3)  # columns
_LEAST_VALUE = "128, 128, 128 w"  # as long a value is always read in full, with the button of a list beside it
_PADDING_PX = 16


class SettingsForm:
    """Fills a QTableWidget with settings. `changed` is called when the user changes a value."""

    def __init__(self, table: Any, changed: Callable[[], None]) -> None:
        self._table = table
        self._changed = changed
        self._settings: tuple[Setting, ...] = ()
        self._controls: dict[str, Any] = {}
        self._showing = self._fitting = False
        table.setTextElideMode(qt.Qt.ElideLeft)  # the last part of a name distinguishes it
        # the value takes the room that is left, and so tells of each change of the width
        table.horizontalHeader().connect("sectionResized(int,int,int)", self._on_resized)

    def show(self, settings: Sequence[Setting], values: Mapping[str, Any]) -> None:
        """Show one row per setting; settings without a value are empty."""
        self._showing = True
        self._settings, self._controls = tuple(settings), {}
        table = self._table
        table.clear()
        table.setColumnCount(3)
        table.setRowCount(len(settings))
        table.setHorizontalHeaderLabels([_("Setting"), _("Value"), _("Unit")])
        for row, setting in enumerate(settings):
            table.setItem(row, _NAME, self._cell(setting.key, setting))
            table.setItem(row, _UNIT, self._cell(setting.unit, setting))
            control = self._control(setting)
            table.setCellWidget(row, _VALUE, control)
            table.setRowHeight(row, _ROW_PX)
            self._controls[setting.key] = control
        header = table.horizontalHeader()
        modes = (qt.QHeaderView.Interactive, qt.QHeaderView.Stretch, qt.QHeaderView.ResizeToContents)
        for column, mode in enumerate(modes):
            header.setSectionResizeMode(column, mode)
        self._showing = False
        self.set_values(values)

    def show_only(self, keys: Collection[str] | None) -> None:
        """Hide the rows of all other keys; None shows every row. Invalid rows are never hidden."""
        wrong = {setting.key for setting in self._settings if self._fault(setting)}
        for row, setting in enumerate(self._settings):
            self._table.setRowHidden(row, keys is not None and setting.key not in keys and setting.key not in wrong)
        self._fit()

    def _on_resized(self, column: int, *_sizes: int) -> None:
        if column == _VALUE and not self._fitting:
            self._fit()

    def _fit(self) -> None:
        """Give the values room in a narrow table: without the units, then with shortened names; tooltips have both."""
        table, metrics = self._table, self._table.fontMetrics()
        shown = [setting for row, setting in enumerate(self._settings) if not table.isRowHidden(row)]
        if not shown:
            return
        self._fitting = True
        names = max(metrics.horizontalAdvance(setting.key) for setting in shown) + _PADDING_PX
        units = max(metrics.horizontalAdvance(setting.unit) for setting in shown) + _PADDING_PX
        room = table.viewport().width - metrics.horizontalAdvance(_LEAST_VALUE) - _PADDING_PX
        table.setColumnHidden(_UNIT, names + units > room)
        table.setColumnWidth(_NAME, max(_PADDING_PX, min(names, room)))
        self._fitting = False

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Set the given values and keep the others."""
        self._showing = True
        for setting in self._settings:
            if setting.key in values:
                _write(self._controls[setting.key], setting, setting.text(values[setting.key]))
        self._showing = False
        self.faults()

    def values(self) -> dict[str, Any]:
        """Return key -> value of every valid row."""
        found = {}
        for setting in self._settings:
            try:
                found[setting.key] = setting.value(_read(self._controls[setting.key], setting))
            except ValueError:
                continue
        return found

    def faults(self) -> list[str]:
        """Return a sentence for every invalid row, and mark these rows."""
        found = []
        for setting in self._settings:
            control, fault = self._controls[setting.key], self._fault(setting)
            if fault:
                found.append(fault)
            if not setting.options:
                control.setStyleSheet(_WRONG if fault else "")
            control.setToolTip(fault or _tip(setting))
        return found

    def _fault(self, setting: Setting) -> str:
        try:
            setting.value(_read(self._controls[setting.key], setting))
        except ValueError as error:
            return _("{setting} must be {what}.").format(setting=setting.key, what=error)
        return ""

    def _cell(self, text: str, setting: Setting) -> Any:
        item = qt.QTableWidgetItem(str(text))
        item.setToolTip(_tip(setting))
        return item

    def _control(self, setting: Setting) -> Any:
        if setting.options:
            box = qt.QComboBox()
            for option in setting.options:
                box.addItem(option or _("method default"), option)
            box.connect("currentIndexChanged(int)", self._on_changed)
            return box
        line = qt.QLineEdit()
        line.setFrame(False)
        line.connect("textChanged(QString)", self._on_changed)
        return line

    def _on_changed(self, *_args: object) -> None:
        if not self._showing:
            self.faults()
            self._changed()


def _read(control: Any, setting: Setting) -> str:
    if setting.options:
        return str(control.itemData(control.currentIndex))
    return str(control.text)


def _write(control: Any, setting: Setting, text: str) -> None:
    if setting.options:
        control.setCurrentIndex(max(0, control.findData(text)))
    else:
        control.setText(text)
        control.setCursorPosition(0)


def _tip(setting: Setting) -> str:
    sentence = setting.help[:1].upper() + setting.help[1:]
    unit = _("Unit: {unit}.").format(unit=setting.unit) if setting.unit else ""
    parts = (setting.key, sentence.rstrip(".") + "." if sentence else "", setting.bounds.capitalize(), unit)
    return "\n".join(filter(None, parts))
