"""Scroll a panel to what the user has to see."""

from __future__ import annotations

from typing import Any

import qt


def bring_into_view(widget: Any) -> None:
    """Scroll the area around a panel so far that a widget can be seen, once its text has been laid out."""
    qt.QTimer.singleShot(0, lambda: _scroll_to(widget))


def _scroll_to(widget: Any) -> None:
    if not widget or not widget.isVisible():  # closed meanwhile
        return
    area = widget.parentWidget()
    while area is not None and not area.inherits("QScrollArea"):
        area = area.parentWidget()
    if area is not None:
        area.ensureWidgetVisible(widget)
