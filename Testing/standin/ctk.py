"""PythonQt's `ctk` module: the CTK widgets that the modules' panels use."""

from __future__ import annotations

import qt
import standin_widgets

ctkCollapsibleButton = qt.register_widget(standin_widgets.ctkCollapsibleButton)
ctkMessageBox = qt.register_widget(standin_widgets.ctkMessageBox)
ctkPathLineEdit = qt.register_widget(standin_widgets.ctkPathLineEdit)
