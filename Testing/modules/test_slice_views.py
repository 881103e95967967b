"""The four views of an inspection over the stand-in's slice views, which have Slicer's linking and late layout."""

from __future__ import annotations

import numpy as np
import slicer
import standin_views

from ASASlicerLib.tests.fakes import add_head
from ASASlicerLib.tests.scene import wait_for
from ASATrainingLib import layouts
from ASATrainingLib.tests.test_inspect import InspectTestCase

_USERS_LAYOUT = 3
_HIGH = np.array([[-2.0, 0, 0, 40], [0, -2.0, 0, 30], [0, 0, 2.0, 500], [0, 0, 0, 1]])


class TestSliceViews(InspectTestCase):
    """A head far above S = 0."""

    def setUp(self) -> None:
        super().setUp()
        self.views = standin_views.SliceViews()
        self.addCleanup(self.views.close)
        self.layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        self.layout.SetViewArrangement(_USERS_LAYOUT)
        self.volume = add_head("high T1", _HIGH)
        self.controls.volumeSelector.setCurrentNode(self.volume)
        self.look()

    def opacities(self) -> list[float]:
        composites = [layouts.slice_view(slicer.mrmlScene, name)[1] for name in layouts.SLICE_VIEWS]
        return [round(composite.GetForegroundOpacity(), 2) for composite in composites]

    def test_the_views_show_the_head_at_once(self) -> None:
        nodes = [layouts.slice_view(slicer.mrmlScene, name)[0] for name in layouts.SLICE_VIEWS]
        wait_for(lambda: all(500 < node.GetSliceOffset() < 580 for node in nodes))
        for node in nodes:
            self.assertLess(node.GetFieldOfView()[0], 400, "it fills the view")

    def test_the_sliders_change_their_own_view_only(self) -> None:
        wait_for(lambda: set(layouts.SLICE_VIEWS) <= self.views.laid_out)
        self.controls.blendSlider.setValue(30)
        self.controls.overlaySlider.setValue(60)
        self.assertEqual(self.opacities(), [0.6, 0.0, 0.3, 0.85])
        composites = [layouts.slice_view(slicer.mrmlScene, name)[1] for name in layouts.SLICE_VIEWS]
        self.assertTrue(all(composite.GetLinkedControl() for composite in composites))
        self.assertEqual(self.shows(2), ("image", "reconstruction", ""))

    def test_the_stand_in_hands_an_opacity_to_linked_views_as_slicer_does(self) -> None:
        wait_for(lambda: set(layouts.SLICE_VIEWS) <= self.views.laid_out)
        layouts.link(slicer.mrmlScene, linked=True)
        layouts.slice_view(slicer.mrmlScene, layouts.SLICE_VIEWS[0])[1].SetForegroundOpacity(0.25)
        self.assertEqual(self.opacities(), [0.25] * 4)

    def test_leaving_the_tab_or_the_module_gives_the_users_layout_back(self) -> None:
        tabs = self.panel.ui.tabWidget
        self.assertEqual(self.layout.GetViewArrangement(), layouts.FOUR)
        inspect, watch = (list(self.panel.tabs).index(title) for title in ("Inspect model", "Watch"))
        tabs.setCurrentIndex(watch)
        self.assertEqual(self.layout.GetViewArrangement(), _USERS_LAYOUT)
        tabs.setCurrentIndex(inspect)
        self.assertEqual(self.layout.GetViewArrangement(), layouts.FOUR)
        self.panel.leave()
        self.assertEqual(self.layout.GetViewArrangement(), _USERS_LAYOUT)
        self.panel.enter()
        self.assertEqual(self.layout.GetViewArrangement(), layouts.FOUR)
        self.layout.SetViewArrangement(4)  # the user's choice meanwhile
        tabs.setCurrentIndex(watch)
        self.assertEqual(self.layout.GetViewArrangement(), 4)
        tabs.setCurrentIndex(inspect)
        self.assertEqual(self.layout.GetViewArrangement(), 4)
