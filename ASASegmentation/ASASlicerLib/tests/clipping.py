"""Find texts of a panel that cannot be read in full."""

from __future__ import annotations

from typing import Any

import qt

_SLACK_PX = 1
_CELL_PX = 6  # around the text of a cell


def clipped(widget: Any) -> list[str]:
    """Return what is cut off in a visible widget: the kind of control, and its text.

    Lists of choices and of nodes are left out: they shorten what is too long, and show it in full when opened.
    """
    found = [f"label: {label.text}" for label in _shown(widget, qt.QLabel) if _label_is_clipped(label)]
    for kind in (qt.QPushButton, qt.QToolButton, qt.QCheckBox, qt.QRadioButton):
        named = [button for button in _shown(widget, kind) if str(button.text)]
        found += [f"button: {one.text}" for one in named if one.sizeHint.width() > one.width + _SLACK_PX]
    for bar in _shown(widget, qt.QTabBar):
        texts = [str(bar.tabText(index)) for index in range(bar.count)]
        if sum(bar.tabRect(index).width() for index in range(bar.count)) > bar.parentWidget().width:
            found.append(f"tabs: {', '.join(texts)}")
    for table in _shown(widget, qt.QTableWidget):
        found += [f"cell: {text}" for text in _clipped_cells(table)]
    return found


def _shown(widget: Any, kind: Any) -> list[Any]:
    return [child for child in widget.findChildren(kind) if child.isVisible()]


def _label_is_clipped(label: Any) -> bool:
    text, metrics = str(label.text), label.fontMetrics()
    if not text:
        return False
    if not label.wordWrap:
        return bool(label.sizeHint.width() > label.width + _SLACK_PX)
    longest = max(metrics.horizontalAdvance(word) for word in text.split())
    return bool(longest > label.width + _SLACK_PX or label.heightForWidth(label.width) > label.height + _SLACK_PX)


def _clipped_cells(table: Any) -> list[str]:
    """Return the texts that are cut off and that no tooltip has in full."""
    metrics, found = table.fontMetrics(), []
    for column in range(table.columnCount):
        if table.isColumnHidden(column):
            continue
        items = [table.item(row, column) for row in range(table.rowCount) if not table.isRowHidden(row)]
        items.append(table.horizontalHeaderItem(column))
        for item in items:
            text = str(item.text()) if item is not None else ""
            if metrics.horizontalAdvance(text) + _CELL_PX > table.columnWidth(column) and text not in item.toolTip():
                found.append(text)
    return found
