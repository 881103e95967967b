"""Input volumes of the panel: one selector for each modality, suggestions, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from asa.modalities.matching import Candidate, identified_modality
from ASASegmentationLib.parameters import Parameters
from ASASlicerLib.names import shortened
from ASASlicerLib.proposal.propose import Survey, propose_nodes, usable_volumes
from ASASlicerLib.steps import Steps, finish

_ROWS = 4


class InputsSection:
    """`ui` holds the named widgets of ASASegmentation.ui.

    A suggested volume is one until the user changes it: suggestions are renewed with the volumes of the scene, the
    task and the model, and the user's choices are not.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._survey = Survey()
        self._candidates: Sequence[Candidate] = ()
        self.selectors = [getattr(ui, f"modalitySelector{row}") for row in range(_ROWS)]

    def show(self, parameters: Parameters) -> None:
        """Show the volumes of the modalities that the model uses."""
        modalities = parameters.modalities
        for row, selector in enumerate(self.selectors):
            caption = getattr(self._ui, f"modalityLabel{row}")
            used = row < len(modalities)
            caption.setVisible(used)
            selector.setVisible(used)
            if used:
                modality = modalities[row]
                ending = "" if modality.required else f" ({_('optional')})"
                caption.setText(f"{_(modality.title)}{ending}:")
                selector.setCurrentNode(parameters.volume(modality.key))
        volumes, text = parameters.volumes(), ""
        if any(parameters.is_suggested(key) for key in volumes):
            text = _("Suggested; please check.")
        elif not volumes and self._candidates:
            text = _("No suitable volume found.")
        self._ui.proposalLabel.setText(text)

    def store(self, parameters: Parameters) -> None:
        """Write the user's choices to the parameter node."""
        for modality, selector in zip(parameters.modalities, self.selectors, strict=False):
            parameters.set_volume(modality.key, selector.currentNode())

    def suggest_again(self, parameters: Parameters) -> None:
        """Replace all volumes of the task by suggestions."""
        for modality in parameters.modalities:
            parameters.suggest_volume(modality.key, None)
        finish(self.renew(parameters))

    def renew(self, parameters: Parameters) -> Steps[bool]:
        """Suggest volumes for the modalities that the user has not chosen any for."""
        self._candidates = yield from self._survey.look(usable_volumes(slicer.mrmlScene))
        modalities = parameters.modalities
        free = [modality for modality in modalities if parameters.is_suggested(modality.key)]
        kept = {m.key: parameters.volume(m.key) for m in modalities if m not in free}
        taken = {volume.GetID() for volume in kept.values() if volume is not None}
        declined = {key for key, volume in kept.items() if volume is None}
        found = propose_nodes([c for c in self._candidates if _available(c, taken, declined)], free) if free else {}
        node = parameters.node
        modified = node.StartModify()
        for modality in free:
            volume = node.GetScene().GetNodeByID(found[modality.key]) if modality.key in found else None
            if volume is not parameters.volume(modality.key):
                parameters.suggest_volume(modality.key, volume)
        node.EndModify(modified)
        return True

    def notes(self, parameters: Parameters) -> list[str]:
        """Return what the user should know before segmenting without some of the modalities, as sentences."""
        model, volumes = parameters.model, parameters.volumes()
        used = {volume.GetID() for volume in volumes.values()}
        titles = {region.name: _(region.title).lower() for region in parameters.task.regions}
        sentences = []
        for modality in parameters.modalities:
            if modality.key in volumes:
                continue
            spare = [c.name for c in self._candidates if c.id not in used and identified_modality(c) == modality.key]
            unknown = model.description.unknown_without.get(modality.key, ()) if model is not None else ()
            if spare:
                text = _("{volume} is loaded but not used as {modality}.")
                sentences.append(text.format(volume=shortened(spare[0]), modality=_(modality.title)))
            elif unknown:
                sentences.append(_("No {modality} volume is selected.").format(modality=_(modality.title)))
            if unknown:
                text = _("Without it, the model cannot determine: {regions}.")
                sentences[-1] += " " + text.format(regions=", ".join(titles[name] for name in unknown))
        return sentences


def _available(candidate: Candidate, taken: set[str], declined: set[str]) -> bool:
    """Whether a volume may be suggested: it is not in use, nor what the user did not want."""
    return candidate.id not in taken and identified_modality(candidate) not in declined
