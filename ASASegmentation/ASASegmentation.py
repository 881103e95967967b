"""Module entry point for Slicer. The implementation is in ASASegmentationLib, ASASlicerLib and the engine `asa`."""

import sys
from collections.abc import Callable
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


class ASASegmentation(ScriptedLoadableModule):
    """Describe the module to the application."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("ASA Brain Segmentation")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Segmentations", "SegmentEditor", "Volumes", "SubjectHierarchy"]
        parent.contributors = ["ASA for 3D Slicer contributors (asa-slicer)"]
        parent.helpText = _(
            "Segments brain MRI: tissue, tumours, white-matter lesions. Choose a task, check the suggested volumes, "
            "click <b>Segment</b>. For research use only; not for diagnosis or treatment. See the "
            '<a href="https://asa-slicer.github.io/SlicerASASegmentation/">documentation</a>.'
        )
        parent.acknowledgementText = _(
            "After Huang, Li, Li and Wan: Attentive Symmetric Autoencoder for Brain MRI Segmentation, MICCAI 2022."
        )
        slicer.app.connect("startupCompleted()", register_sample_data)
        slicer.app.connect("startupCompleted()", register_effect)


def register_sample_data() -> None:
    """Register the sample data once the application has started and the module Sample Data is available."""
    from ASASegmentationLib.sample_data import register

    register()


def register_effect() -> None:
    """Register the Segment Editor effect ASA Refine once the application has started."""
    import qSlicerSegmentationsEditorEffectsPythonQt as effects

    effect = effects.qSlicerSegmentEditorScriptedEffect(None)
    source = Path(__file__).parent / "SegmentEditorASARefine" / "SegmentEditorASARefineEffect.py"
    effect.setPythonSource(source.as_posix())
    effect.self().register()


class ASASegmentationWidget(ScriptedLoadableModuleWidget):
    """Create the panel of ASASegmentationLib.panel."""

    panel: Any = None  # until setup has come so far

    def setup(self) -> None:
        """Build the panel; Slicer calls this once, when the module is opened."""
        ScriptedLoadableModuleWidget.setup(self)
        from ASASegmentationLib.panel import Panel
        from ASASlicerLib.dependencies import SlicerInstaller
        from ASASlicerLib.dialogs import SlicerDialogs

        widget = slicer.util.loadUI(self.resourcePath("UI/ASASegmentation.ui"))
        self.layout.addWidget(widget)
        dialogs = SlicerDialogs()
        self.logic = ASASegmentationLogic()
        self.panel = Panel(
            slicer.util.childWidgetVariables(widget),
            self.logic.create(dialogs.ask),
            self.logic.getParameterNode,
            dialogs,
            SlicerInstaller(),
            slicer.app.userSettings(),
        )

    def enter(self) -> None:
        """Follow the user into the module; Slicer calls this each time."""
        if self.panel is not None:
            self.panel.results.correct.set_shown(True)

    def exit(self) -> None:
        """Follow the user out of the module; Slicer calls this each time."""
        if self.panel is not None:
            self.panel.results.correct.set_shown(False)

    def cleanup(self) -> None:
        """Close the panel; Slicer calls this on exit and on reload."""
        panel, self.panel = self.panel, None  # some versions of Slicer call this twice on exit
        if panel is not None:
            from ASASlicerLib.resident import shared_runner

            panel.close()
            shared_runner().close()

    def onReload(self) -> None:
        """Drop the libraries and the engine from the module cache so that they are imported again."""
        for name in [n for n in sys.modules if n.split(".")[0] in ("ASASegmentationLib", "ASASlicerLib", "asa")]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)


class ASASegmentationLogic(ScriptedLoadableModuleLogic):
    """Create the logic of ASASegmentationLib and its dependencies."""

    def create(self, ask: Callable[[str], bool]) -> Any:
        """The logic over the application's scene; `ask` puts a yes-no question to the user."""
        from ASASegmentationLib.logic import SegmentationLogic
        from ASASlicerLib.resident import shared_runner

        return SegmentationLogic(slicer.mrmlScene, shared_runner(), ask)


class ASASegmentationTest(ScriptedLoadableModuleTest):
    """Run the tests that need an application, or the stand-in for it."""

    def runTest(self, *args: Any, **kwargs: Any) -> None:
        """Run the tests of the module.

        Raises:
            AssertionError: tests failed.
        """
        import unittest

        from ASASegmentationLib.tests import suite

        result = unittest.TextTestRunner(verbosity=2).run(suite())
        if not result.wasSuccessful():
            raise AssertionError(f"{len(result.failures) + len(result.errors)} tests failed")
