"""Training module entry point for Slicer. The implementation is in ASATrainingLib and the engine `asa`."""

import sys
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)


class ASATraining(ScriptedLoadableModule):
    """Describe the module to the application."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("ASA Training")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["ASASegmentation", "Volumes"]
        parent.contributors = ["ASA for 3D Slicer contributors (asa-slicer)"]
        parent.helpText = _(
            "Pre-trains and fine-tunes the Attentive Symmetric Auto-encoder on this computer, monitors runs "
            "and inspects models: importance, masks, reconstructions. Runs continue after Slicer is closed. "
            "For research use only; not for diagnosis or treatment. See the "
            '<a href="https://asa-slicer.github.io/SlicerASASegmentation/">documentation</a>.'
        )
        parent.acknowledgementText = _(
            "After Huang, Li, Li and Wan: Attentive Symmetric Autoencoder for Brain MRI Segmentation, MICCAI 2022."
        )
        slicer.app.connect("startupCompleted()", register_layouts)


def register_layouts() -> None:
    """Register the layouts once the application has started."""
    from ASATrainingLib.layouts import register

    register(slicer.mrmlScene)


class ASATrainingWidget(ScriptedLoadableModuleWidget):
    """Create the panel of ASATrainingLib.panel."""

    panel: Any = None  # until setup has come so far

    def setup(self) -> None:
        """Build the panel; Slicer calls this once, when the module is opened."""
        ScriptedLoadableModuleWidget.setup(self)
        from ASASlicerLib.dependencies import SlicerInstaller, training_plan
        from ASASlicerLib.dialogs import SlicerDialogs
        from ASATrainingLib.panel import Panel

        widget = slicer.util.loadUI(self.resourcePath("UI/ASATraining.ui"))
        self.layout.addWidget(widget)
        self.logic = ASATrainingLogic()
        forms = Path(self.resourcePath("UI"))
        self.panel = Panel(widget, self.logic.create(), SlicerDialogs(), forms, SlicerInstaller(), training_plan)
        self.panel.ask_engine()

    def enter(self) -> None:
        """Called by the application when the module is opened."""
        if self.panel is not None:
            self.panel.enter()

    def exit(self) -> None:
        """Called by the application when another module is opened."""
        if self.panel is not None:
            self.panel.leave()

    def cleanup(self) -> None:
        """Close the panel; Slicer calls this on exit and on reload."""
        panel, self.panel = self.panel, None  # some versions of Slicer call this twice on exit
        if panel is not None:
            panel.close()

    def onReload(self) -> None:
        """Drop the library from the module cache so that it is imported again."""
        for name in [n for n in sys.modules if n.split(".")[0] == "ASATrainingLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)


class ASATrainingLogic(ScriptedLoadableModuleLogic):
    """Create the logic of ASATrainingLib and its dependencies."""

    def create(self) -> Any:
        """The logic over the application's settings, in which the list of known runs is kept."""
        import asa
        from ASASlicerLib.process import PythonRunner
        from ASATrainingLib.logic import TrainingLogic
        from ASATrainingLib.runs.control import RunControl

        runner = PythonRunner(Path(asa.__file__).parents[1])
        return TrainingLogic(slicer.app.settings(), runner, self.getParameterNode, RunControl(runner))


class ASATrainingTest(ScriptedLoadableModuleTest):
    """Run the tests that need an application, or the stand-in for it."""

    def runTest(self, *args: Any, **kwargs: Any) -> None:
        """Run the tests of the module.

        Raises:
            AssertionError: tests failed.
        """
        import unittest

        from ASATrainingLib.tests import suite

        result = unittest.TextTestRunner(verbosity=2).run(suite())
        if not result.wasSuccessful():
            raise AssertionError(f"{len(result.failures) + len(result.errors)} tests failed")
