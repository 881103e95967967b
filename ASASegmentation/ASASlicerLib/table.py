"""Fill table widgets with text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt

Colour = tuple[float, float, float]
_ROW, _HEADING, _SWATCH, _PADDING = 22, 24, 12, 16  # pixels


def fill_table(
    table: Any,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    colours: Sequence[Colour | None] | None = None,
) -> None:
    """Show headings and rows in a QTableWidget: the first column left-aligned, the others right-aligned.

    With `colours` (red, green, blue in 0..1 per row, or None), the rows begin with a colour swatch. The tooltip of a
    row names all its values.
    """
    table.setColumnCount(len(headings))
    table.setRowCount(len(rows))
    table.setHorizontalHeaderLabels(list(headings))
    for i, row in enumerate(rows):
        values = (f"{heading}: {text}" for heading, text in zip(headings, row, strict=True) if text)
        tip = "\n".join(values)
        for j, text in enumerate(row):
            item = qt.QTableWidgetItem(str(text))
            item.setToolTip(tip)
            item.setTextAlignment(qt.Qt.AlignVCenter | (qt.Qt.AlignLeft if j == 0 else qt.Qt.AlignRight))
            if j == 0 and colours is not None:
                item.setIcon(_swatch(colours[i]))
            table.setItem(i, j, item)
    header = table.horizontalHeader()
    for column in range(len(headings)):
        mode = qt.QHeaderView.Stretch if column == 0 else qt.QHeaderView.ResizeToContents
        header.setSectionResizeMode(column, mode)
    table.setWordWrap(False)
    table.resizeRowsToContents()


def fold_columns(table: Any) -> None:
    """Hide the last columns of a narrow table, so that its names can be read in full; two columns always stay."""
    metrics = table.fontMetrics()
    room = table.viewport().width - _SWATCH
    for column in range(table.columnCount):
        texts = [table.item(row, column).text() for row in range(table.rowCount)]
        texts.append(table.horizontalHeaderItem(column).text())
        room -= max(metrics.horizontalAdvance(text) for text in texts) + _PADDING
        table.setColumnHidden(column, column > 1 and room < 0)


def fit_height(table: Any, rows: int) -> None:
    """Fit the height of a table to its rows."""
    table.horizontalHeader().setFixedHeight(_HEADING)
    for row in range(rows):
        table.setRowHeight(row, _ROW)
    table.setFixedHeight(_HEADING + _ROW * rows + 4)


def _swatch(colour: Colour | None) -> Any:
    """Return a colour swatch; transparent for rows without colour, so that all texts align."""
    pixmap = qt.QPixmap(_SWATCH, _SWATCH)
    pixmap.fill(qt.QColor(*(round(255 * part) for part in colour)) if colour else qt.QColor(0, 0, 0, 0))
    return qt.QIcon(pixmap)
