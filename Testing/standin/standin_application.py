"""`slicer.app`, `slicer.mrmlScene` and `slicer.modules` over slicer-core, as far as the modules use them.

    import standin_application
    application = standin_application.start()

The scene, the module logics and the files are Slicer's own; only Qt and what is made of it stands in.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import qt
import slicer
import standin_modules
import standin_segment_editor
import standin_widgets
import vtk

_LOGICS = {
    "Colors": "vtkMRMLColorLogic",  # first: the others ask for it
    "Volumes": "vtkSlicerVolumesLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",  # knows what draws points in the views
}


class IOManager:
    """Reads and writes the files that the tests of the modules need."""

    def fileType(self, path: str) -> str:
        name = str(path).lower()
        if name.endswith((".mrb", ".mrml")):
            return "SceneFile"
        return "SegmentationFile" if name.endswith(".seg.nrrd") else "VolumeFile"

    def loadNodes(self, kind: str, properties: dict[str, Any], loaded: vtk.vtkCollection, _messages: object) -> bool:
        path = str(properties["fileName"])
        if kind == "SceneFile":
            return bool(slicer.mrmlScene.ReadFromMRB(path, bool(properties.get("clear", False))))
        node = self._segmentation(path) if kind == "SegmentationFile" else self._volume(path, properties)
        if node is not None:
            loaded.AddItem(node)
        return node is not None

    def saveNodes(self, kind: str, properties: dict[str, Any], _messages: object) -> bool:
        if kind == "SceneFile":
            return bool(slicer.mrmlScene.WriteToMRB(str(properties["fileName"]), None))
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        storage = node.GetStorageNode() or node.AddDefaultStorageNode() or node.GetStorageNode()
        storage.SetFileName(str(properties["fileName"]))
        return bool(storage.WriteData(node))

    def fileWriterFileType(self, _node: slicer.vtkMRMLNode) -> str:
        return "NodeFile"

    def _volume(self, path: str, properties: dict[str, Any]) -> Any:
        name = properties.get("name") or Path(path).name.split(".")[0]
        label_map = 1 if properties.get("labelmap") else 0
        return slicer.modules.volumes.logic().AddArchetypeVolume(path, name, label_map)

    def _segmentation(self, path: str) -> Any:
        name = Path(path).name.split(".")[0]
        return slicer.modules.segmentations.logic().LoadSegmentationFromFile(path, True, name)


class Application:
    """`slicer.app`."""

    applicationName = "Slicer"
    majorVersion, minorVersion, revision = 5, 12, "0"

    def __init__(self, settings: Path) -> None:
        self._qt = qt.QApplication.instance() or qt.QApplication(["Slicer"])
        self._settings = qt.QSettings(str(settings), qt.QSettings.IniFormat)
        self._io = IOManager()
        self.temporaryPath = tempfile.gettempdir()
        self.logic = slicer.vtkSlicerApplicationLogic()
        self._on_startup: list[Callable[[], object]] = []
        self._paused = 0

    def connect(self, signal: str, slot: Callable[[], object]) -> bool:
        """Modules wait for the end of the start only."""
        assert signal == "startupCompleted()", signal
        self._on_startup.append(slot)
        return True

    def complete_startup(self) -> None:
        """Calls whoever waited for the application to have started."""
        while self._on_startup:
            self._on_startup.pop()()

    def testingEnabled(self) -> bool:
        return True

    def settings(self) -> Any:
        return self._settings

    userSettings = settings

    def coreIOManager(self) -> IOManager:
        return self._io

    ioManager = coreIOManager

    def applicationLogic(self) -> Any:
        return self.logic

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene

    def pauseRender(self) -> None:
        self._paused += 1

    def resumeRender(self) -> None:
        assert self._paused > 0
        self._paused -= 1

    def isRenderPaused(self) -> bool:
        """Whether views are not drawn: as often as it was paused it must be resumed."""
        return self._paused > 0

    def layoutManager(self) -> None:
        """There is no main window, as under --no-main-window."""

    def topLevelWidgets(self) -> tuple[Any, ...]:
        return tuple(qt.QApplication.topLevelWidgets())

    def processEvents(self) -> None:
        qt.QApplication.processEvents()

    def palette(self) -> Any:
        return qt.QApplication.palette()


def start(settings: Path | None = None) -> Application:
    """Makes the application, an empty scene and the module logics, once for a process.

    `settings`: where slicer.app.settings() are kept; a temporary file if not given.
    """
    if isinstance(getattr(slicer, "app", None), Application):
        return slicer.app
    standin_modules.install()
    slicer.qMRMLNodeComboBox = qt.register_widget(standin_widgets.qMRMLNodeComboBox)
    standin_segment_editor.install()
    __import__("ctk")  # .ui files may name its widgets before any module imports it
    slicer.app = Application(settings or Path(tempfile.mkdtemp()) / "Slicer.ini")
    slicer.mrmlScene = slicer.vtkMRMLScene()
    _connect_logics(slicer.app.logic, slicer.mrmlScene)
    return slicer.app


def _connect_logics(application: Any, scene: Any) -> None:
    application.SetMRMLScene(scene)
    application.GetColorLogic().SetMRMLScene(scene)
    application.GetColorLogic().AddDefaultColorNodes()
    application.SetSliceLogics(vtk.vtkCollection())  # a bare application logic has none and slice logics need them
    application.SetViewLogics(vtk.vtkCollection())
    for name in ("Selection", "Interaction"):  # what the next click in a view does; both outlive a closed scene
        node = scene.CreateNodeByClass(f"vtkMRML{name}Node")
        node.UnRegister(None)
        scene.AddNode(node)
    for factory in (
        slicer.vtkMRMLThreeDViewDisplayableManagerFactory,
        slicer.vtkMRMLSliceViewDisplayableManagerFactory,
    ):
        factory.GetInstance().SetMRMLApplicationLogic(application)
    for name, class_name in _LOGICS.items():
        logic = getattr(slicer, class_name)()
        logic.SetMRMLScene(scene)
        logic.SetMRMLApplicationLogic(application)
        application.SetModuleLogic(name, logic)
        setattr(slicer.modules, name.lower(), SimpleNamespace(logic=lambda logic=logic: logic, name=name))
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    cache = slicer.vtkCacheManager()  # .mrb files are unpacked there
    cache.SetRemoteCacheDirectory(tempfile.mkdtemp())
    cache.SetMRMLScene(scene)
    files = slicer.vtkDataIOManager()
    files.SetCacheManager(cache)
    scene.SetCacheManager(cache)
    scene.SetDataIOManager(files)
