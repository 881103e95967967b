"""Suggested volumes follow the scene and the task until the user changes them, and gaps are reported."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from unittest import mock

import slicer

from asa.modalities.contrast import measure_contrast
from ASASegmentationLib.tests.case import PanelTestCase
from ASASlicerLib.tests.fakes import add_head
from ASASlicerLib.tests.scene import import_scene, wait_for

_NAMES = {"t1": "pat_t1", "t1gd": "pat_t1ce", "t2": "pat_t2", "flair": "pat_flair"}


class TestSuggestions(PanelTestCase):
    """A tumour model that can do without each of its inputs, as the one that ships."""

    def setUp(self) -> None:
        super().setUp()
        path = Path(os.environ["ASA_MODELS"]) / "test-tumour" / "model.json"
        description = json.loads(path.read_text(encoding="utf-8"))
        description |= {"optional_modalities": list(_NAMES)}
        description |= {"unknown_without": {"t1gd": ["TC", "ET"], "flair": ["WT"]}}
        path.write_text(json.dumps(description), encoding="utf-8")
        self.panel.show_parameters()

    def chosen(self) -> dict[str, str]:
        """Modality key -> name of its volume."""
        return {key: volume.GetName() for key, volume in self.parameters.volumes().items()}

    def wait_past_renewal(self) -> None:
        """Waits longer than the panel does before it renews its suggestions."""
        until = time.monotonic() + 0.6
        wait_for(lambda: time.monotonic() > until)

    def test_a_task_gets_suggestions_of_its_own(self) -> None:
        for name in _NAMES.values():
            add_head(name)
        wait_for(self.parameters.volumes)
        self.assertEqual(self.chosen(), {"t1": "pat_t1"})
        self.choose_task("tumour")
        self.assertEqual(self.chosen(), _NAMES)
        self.assertEqual(self.ui.statusLabel.text.splitlines()[0], "Ready.")

    def test_series_that_arrive_one_by_one_are_suggested(self) -> None:
        self.choose_task("tumour")
        for name in _NAMES.values():
            add_head(name)
            wait_for(lambda: list(self.chosen().values())[-1:] == [name])  # noqa: B023
        self.assertEqual(self.chosen(), _NAMES)

    def test_a_better_match_replaces_a_suggestion(self) -> None:
        self.add_proposed("something")
        add_head("the_real_T1")
        wait_for(lambda: self.chosen() == {"t1": "the_real_T1"})

    def test_a_users_choice_stays(self) -> None:
        volume, other = add_head("something"), add_head("other")
        self.ui.modalitySelector0.setCurrentNode(other)
        self.ui.modalitySelector0.setCurrentNode(volume)
        add_head("the_real_T1")
        self.wait_past_renewal()
        self.assertEqual(self.chosen(), {"t1": "something"})
        self.choose_task("tumour")
        self.choose_task("tissue")
        self.assertEqual(self.chosen(), {"t1": "something"})
        self.ui.proposeButton.click()
        self.assertEqual(self.chosen(), {"t1": "the_real_T1"})

    def test_a_choice_of_none_stays_and_is_not_suggested_for_another_modality(self) -> None:
        self.choose_task("tumour")
        for name in _NAMES.values():
            add_head(name)
        wait_for(lambda: len(self.parameters.volumes()) == 4)
        self.ui.modalitySelector3.setCurrentNode(None)
        add_head("pat_t1_second")
        self.wait_past_renewal()
        self.assertNotIn("flair", self.chosen())
        self.assertIn("pat_flair", self.ui.statusLabel.text)

    def test_a_choice_stays_when_another_scene_is_added(self) -> None:
        volume = self.add_proposed("something")
        other = add_head("the_real_T1")
        self.ui.modalitySelector0.setCurrentNode(other)
        self.ui.modalitySelector0.setCurrentNode(volume)
        self.ui.modalitySelector0.setCurrentNode(other)
        import_scene()
        self.wait_past_renewal()
        self.assertEqual(self.parameters.volume("t1").GetID(), other.GetID())
        self.assertEqual(self.ui.modalitySelector0.currentNodeID, other.GetID())

    def test_a_suggestion_is_still_one_in_a_scene_that_was_saved(self) -> None:
        self.add_proposed("something")
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "scene.mrb")
            self.assertTrue(slicer.util.saveScene(path))
            slicer.mrmlScene.Clear(0)
            slicer.util.loadScene(path)
        wait_for(lambda: self.chosen() == {"t1": "something"})
        add_head("the_real_T1")
        wait_for(lambda: self.chosen() == {"t1": "the_real_T1"})

    def test_the_volumes_of_an_older_scene_are_a_users_choice(self) -> None:
        volume = add_head("something")
        self.parameters.set_volume("t1", volume)
        add_head("the_real_T1")
        self.wait_past_renewal()
        self.assertEqual(self.chosen(), {"t1": "something"})

    def test_a_volume_that_is_loaded_but_not_used_is_named(self) -> None:
        self.choose_task("tumour")
        for name in _NAMES.values():
            add_head(name)
        wait_for(lambda: len(self.parameters.volumes()) == 4)
        self.ui.modalitySelector3.setCurrentNode(None)
        self.assertIn("pat_flair is loaded but not used as FLAIR", self.ui.statusLabel.text)
        self.assertIn("whole tumour", self.ui.statusLabel.text)
        self.assertNotIn("Ready", self.ui.statusLabel.text)
        self.assertTrue(self.ui.segmentButton.enabled)

    def test_what_a_missing_modality_means_is_said_before_the_click(self) -> None:
        self.choose_task("tumour")
        add_head("pat_t1")
        wait_for(self.parameters.volumes)
        self.assertIn("No FLAIR volume is selected", self.ui.statusLabel.text)
        self.assertIn("whole tumour", self.ui.statusLabel.text)
        self.assertIn("No T1 with contrast agent volume is selected", self.ui.statusLabel.text)
        self.assertNotIn("Ready", self.ui.statusLabel.text)

    def test_a_result_is_not_reported_for_other_volumes(self) -> None:
        self.add_proposed()
        self.segment()
        self.assertIn("Done", self.ui.statusLabel.text)
        self.ui.modalitySelector0.setCurrentNode(add_head("another"))
        self.assertEqual(self.ui.statusLabel.text.splitlines()[0], "Ready.")

    def test_the_label_says_who_chose(self) -> None:
        self.add_proposed("something")
        self.assertIn("Suggested", self.ui.proposalLabel.text)
        self.ui.modalitySelector0.setCurrentNode(add_head("other"))
        self.assertEqual(self.ui.proposalLabel.text, "")
        self.choose_task("wmh")
        self.assertIn("No suitable volume", self.ui.proposalLabel.text)

    def test_volumes_are_not_measured_again(self) -> None:
        with mock.patch("ASASlicerLib.proposal.propose.measure_contrast", wraps=measure_contrast) as measured:
            for number in range(3):
                add_head(f"{number}")
                self.wait_past_renewal()
            self.choose_task("tumour")
            self.choose_task("tissue")
        self.assertEqual(measured.call_count, 3)

    def test_volumes_that_arrive_during_a_job_are_suggested_after_it(self) -> None:
        self.choose_task("tumour")
        add_head("pat_flair")
        wait_for(self.parameters.volumes)
        self.start()
        add_head("pat_t1")
        self.wait_past_renewal()
        self.assertEqual(self.chosen(), {"flair": "pat_flair"})
        self.ui.segmentButton.click()
        wait_for(lambda: self.chosen() == {"flair": "pat_flair", "t1": "pat_t1"})
