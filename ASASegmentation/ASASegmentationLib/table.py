"""Rows of text in a table widget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt


def fill_table(table: Any, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Shows headings and rows in a QTableWidget: the first column as text, the others as numbers to the right."""
    table.setColumnCount(len(headings))
    table.setRowCount(len(rows))
    table.setHorizontalHeaderLabels(list(headings))
    for i, row in enumerate(rows):
        for j, text in enumerate(row):
            item = qt.QTableWidgetItem(str(text))
            item.setTextAlignment(qt.Qt.AlignVCenter | (qt.Qt.AlignLeft if j == 0 else qt.Qt.AlignRight))
            table.setItem(i, j, item)
    header = table.horizontalHeader()
    for column in range(len(headings)):
        mode = qt.QHeaderView.Stretch if column == 0 else qt.QHeaderView.ResizeToContents
        header.setSectionResizeMode(column, mode)
    table.setWordWrap(False)
    table.resizeRowsToContents()
