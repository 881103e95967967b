"""Rows of text in a table widget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt

Colour = tuple[float, float, float]
_ROW, _HEADING, _SWATCH = 22, 24, 12  # pixels


def fill_table(
    table: Any, headings: Sequence[str], rows: Sequence[Sequence[str]], colours: Sequence[Colour | None]
) -> None:
    """Shows headings and rows in a QTableWidget that is as high as they are.

    The first column is text with a swatch of the row's colour (red, green, blue in 0..1), the others are numbers.
    """
    table.setColumnCount(len(headings))
    table.setRowCount(len(rows))
    table.setHorizontalHeaderLabels(list(headings))
    for i, (row, colour) in enumerate(zip(rows, colours, strict=True)):
        for j, text in enumerate(row):
            item = qt.QTableWidgetItem(str(text))
            item.setTextAlignment(qt.Qt.AlignVCenter | (qt.Qt.AlignLeft if j == 0 else qt.Qt.AlignRight))
            if j == 0:
                item.setIcon(_swatch(colour))
            table.setItem(i, j, item)
    header = table.horizontalHeader()
    for column in range(len(headings)):
        mode = qt.QHeaderView.Stretch if column == 0 else qt.QHeaderView.ResizeToContents
        header.setSectionResizeMode(column, mode)
    table.setWordWrap(False)
    header.setFixedHeight(_HEADING)
    for i in range(len(rows)):
        table.setRowHeight(i, _ROW)
    table.setFixedHeight(_HEADING + _ROW * len(rows) + 4)


def _swatch(colour: Colour | None) -> Any:
    """A square of a colour; a clear one keeps the texts of rows without colour in line with the others."""
    pixmap = qt.QPixmap(_SWATCH, _SWATCH)
    pixmap.fill(qt.QColor(*(round(255 * part) for part in colour)) if colour else qt.QColor(0, 0, 0, 0))
    return qt.QIcon(pixmap)
