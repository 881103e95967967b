"""What is written on request besides the usual files (:data:`asa.request.EXTRAS`)."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asa.errors import DependencyError, InputError, install_command
from asa.report.dicom import write_dicom
from asa.report.exchange import write_freesurfer_lut, write_itksnap_labels, write_mgz, write_transforms
from asa.report.lesions import Lesion, find_lesions, write_lesions
from asa.report.page import write_page
from asa.report.volumes import Measurement
from asa.request import EXTRAS, SegmentRequest
from asa.tasks import TASKS
from asa.volume import write_volume
from asa.volume.reading import is_dicom_image

if TYPE_CHECKING:
    from asa.inference import SegmentResult


def check_extras(request: SegmentRequest) -> None:
    """Refuse what cannot be made, before anything is computed.

    Raises:
        InputError: DICOM output is requested, and an image is not DICOM.
        DependencyError: highdicom is not installed.
    """
    if "dicom" not in request.also:
        return
    if other := next((path for path in request.images.values() if not is_dicom_image(Path(path))), None):
        raise InputError(f"DICOM output needs DICOM images, and {Path(other).name} is not one; leave out 'dicom'.")
    if not importlib.util.find_spec("highdicom"):
        raise DependencyError(f"DICOM output needs highdicom; install it with: {install_command('dicom')}")


def write_extras(
    folder: Path,
    request: SegmentRequest,
    result: SegmentResult,
    measurements: Sequence[Measurement],
    warnings: Sequence[str],
) -> list[str]:
    """Write the further outputs of the request into a folder that has the usual files.

    Args:
        folder: where.
        request: the request of the segmentation.
        result: the segmentation.
        measurements: its volumes.
        warnings: of the result so far.

    Returns:
        Further warnings: why a file could not be made.

    Raises:
        OutputError: the folder cannot be written to.
        InputError: the images cannot be read again.
    """
    task, further = TASKS[request.task], list[str]()
    asked = {key: [folder / name for name in EXTRAS[key]] for key in request.also}
    if names := asked.get("brain"):
        write_volume(result.brain, names[0])
    if names := asked.get("transform"):
        write_transforms(result.alignment, names)
    if names := asked.get("mgz"):
        write_mgz(result.labels, names[0])
    if names := asked.get("luts"):
        write_freesurfer_lut(task, names[0])
        write_itksnap_labels(task, names[1])
    lesions: tuple[Lesion, ...] = ()
    if names := asked.get("lesions"):
        lesions = find_lesions(request, result)
        write_lesions(lesions, names[0])
    if names := asked.get("dicom"):
        reference = Path(request.images[result.reference])
        doubtful = result.trust.verdict == "doubtful"
        further += write_dicom(reference, result.labels, task, measurements, names, doubtful=doubtful)
    if names := asked.get("html"):
        all_warnings = [*warnings, *further]
        write_page(names[0], task, measurements, _facts(request, result), all_warnings, folder / "overlay.png", lesions)
    return further


def _facts(request: SegmentRequest, result: SegmentResult) -> dict[str, Any]:
    """Return what the page says of the scan and the method."""
    titles = {modality.key: modality.title for modality in TASKS[request.task].modalities}
    spacing = " × ".join(f"{size:.2g}" for size in result.image.grid.spacing[::-1])
    return {
        "verdict": result.trust.verdict,
        "Images": ", ".join(titles[key] for key in result.used),
        "Result on": f"{titles[result.reference]}, voxels of {spacing} mm",
        "Model": f"{result.model.name} {result.model.description.version}".strip(),
        "Alignment with MNI152": f"{result.alignment.method}, agreement {result.alignment.quality:.2f} of 1",
    }
