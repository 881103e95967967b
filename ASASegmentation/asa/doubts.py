"""Sentences about a result: why it is doubtful, and what else to know about it; their only place.

What is measured and where the limits lie is decided elsewhere; these functions take the numbers and return one sentence
each, in which number, article and verb agree whatever the image or the region is called.
"""

from __future__ import annotations

from collections.abc import Sequence

from asa.tasks import TITLES

AXES = ("from left to right", "from back to front", "from bottom to top")
_SIDES = ("left", "right")

# --- names ---


def image(key: str) -> str:
    """Return the noun for the image of a modality: ``t1gd`` is the "T1 image with contrast agent"."""
    sequence, _, rest = TITLES.get(key, key).partition(" ")
    return f"{sequence} image {rest}".rstrip()


def listed(names: Sequence[str]) -> str:
    """Return names as a list in a sentence: "a", "a and b", "a, b and c"."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def inside(title: str) -> str:
    """Return a title as it is written within a sentence; abbreviations keep their capitals."""
    return title if title[:2].isupper() else title[:1].lower() + title[1:]


# --- images ---


def wrong_orientation(key: str, lies: str) -> str:
    """``lies``: where face and vertex point by the header."""
    return (
        f"The orientation in the header of the {image(key)} seems to be wrong: by it the head lies with its {lies}. "
        "The result follows the image, but left and right may be swapped; correct the header, or accept the "
        "orientation found with --reorient auto."
    )


def unusual_position(lies: str) -> str:
    """A note on a patient on the side or face down; ``lies`` as in :func:`wrong_orientation`."""
    return (
        f"The head lies with its {lies}, as in a patient on the side or face down; if the patient lay otherwise, the "
        "orientation in the header is wrong and left and right may be swapped."
    )


def unknown_sides(key: str) -> str:
    """The file holds no orientation."""
    return f"The file of the {image(key)} does not state how the head is oriented: left and right may be swapped."


def unusual_size(key: str, axis: int | None, share: float) -> str:
    """``share``: size of the head over an adult's along ``axis``, 0 right, 1 anterior, 2 superior; None: in several."""
    how = "is not of an adult's size" if axis is None else f"has {share:.0%} of an adult's size {AXES[axis]}"
    return (
        f"By the header of the {image(key)} the head {how}: if the voxel size is wrong, so are all volumes; if the "
        "patient is a child, the model was not trained for that."
    )


def little_tissue(key: str, agreement: float) -> str:
    """The inside of the head is hardly that of a brain."""
    return f"The {image(key)} barely shows brain tissue (agreement {agreement:.2f})."


def other_contrast(key: str, likely: str) -> str:
    """``likely``: the modality of which the image has the contrast."""
    return f"The {image(key)} has the contrast of a {TITLES[likely]}; check whether the modality is right."


def motion(roughness: float) -> str:
    """Ripples in the white matter of a T1, relative to its brightness."""
    return f"Ripples in the white matter of the T1 image ({roughness:.1%}) suggest motion of the head."


def hole(volume_ml: float) -> str:
    """A part of the brain without signal."""
    return (
        f"A part of the brain of {volume_ml:.0f} mL gives no signal in the T1 image, as near metal or in a cavity; "
        "labels in and around it are unreliable."
    )


def wrap_around(key: str, axis: int) -> str:
    """``axis``: 0 right, 1 anterior, 2 superior."""
    return (
        f"The head continues at the opposite end of the field of view of the {image(key)} ({AXES[axis]}), which "
        "suggests wrap-around; check the parts near both ends."
    )


def contrast_agent_exchanged() -> str:
    """The T1 enhances, and the one with contrast agent does not."""
    return "Enhancement appears in the T1 but not in the T1 with contrast agent; were they exchanged?"


# --- position ---


def estimated_position() -> str:
    """The registration to the template failed."""
    return (
        "The head could not be registered to the template; its position was only estimated from its mid-sagittal plane "
        "and its outline, so check the result."
    )


def uncertain_alignment(quality: float) -> str:
    """The registration to the template is poor."""
    return f"The alignment with the template is uncertain (quality {quality:.2f}); check the result."


def cut_off(share: float, key: str = "") -> str:
    """A share of the brain is not in the image: of one modality, or if "" of the image by which the head is placed."""
    where = f"the field of view of the {image(key)}" if key else "the field of view"
    return f"About {share:.0%} of the brain lies outside {where}."


def poorly_registered(key: str, other: str, agreement: float) -> str:
    """Two images of one head do not fit well."""
    return f"The {image(key)} could not be registered well to the {image(other)} (agreement {agreement:.2f})."


# --- brain ---


def no_brain() -> str:
    """No voxel was labelled as brain."""
    return "The model found no brain in the image."


def brain_extent(axis: int, extent_mm: float, low: float, high: float) -> str:
    """The brain is too short or too long along an axis, 0 right, 1 anterior, 2 superior."""
    return (
        f"The brain measures {extent_mm:.0f} mm {AXES[axis]}, outside the range of adults ({low:.0f} to {high:.0f} "
        "mm); check the voxel size and the field of view."
    )


def brain_volume(volume_ml: float, low: float, high: float) -> str:
    """The brain is too small or too large."""
    return (
        f"The volume of the brain is {volume_ml:.0f} mL, outside the range of adults ({low:.0f} to {high:.0f} mL); "
        "check the voxel size, the field of view and the outline of the brain."
    )


def brain_shape(overlap: float) -> str:
    """The brain mask lies elsewhere than the template's, or has another shape; ``overlap`` is their Dice."""
    return f"The brain mask agrees poorly with the template's (Dice {overlap:.2f})."


def white_matter_missing(share: float) -> str:
    """``share``: part of where the template has deep white matter that is labelled as white matter."""
    return (
        f"Only {share:.0%} of the template's deep white matter is labelled as white matter; check the alignment with "
        "the template and the labels."
    )


def grey_over_white(ratio: float, low: float, high: float) -> str:
    """The volume of grey matter over that of white matter is unusual."""
    return (
        f"There is {ratio:.1f} times as much grey matter as white matter (usual: {low:.1f} to {high:.1f}); check the "
        "border between them."
    )


def large_ventricles(share: float, limit: float) -> str:
    """The ventricles are a large share of the brain."""
    return (
        f"The ventricles fill {share:.0%} of the brain, more than {limit:.0%}; check whether they are enlarged or "
        "labelled wrongly."
    )


def uneven_halves(difference: float) -> str:
    """``difference``: volume of the left half less that of the right, over their mean."""
    return (
        f"The {_SIDES[int(difference > 0)]} half of the brain is {abs(difference):.0%} smaller than the other; check "
        "whether a part is missing in the image or was not recognised."
    )


# --- network ---


def uncertain_labels(probability: float) -> str:
    """Mean probability of the classes chosen."""
    return f"The network is uncertain: the mean probability of its labels is {probability:.2f}."


def uncertain_outline(title: str, certainty: float, limit: float) -> str:
    """A region whose outline the network itself does not believe."""
    return (
        f"The network is uncertain of the outline of the {inside(title)} (certainty {certainty:.2f}; below "
        f"{limit:.2f} such outlines are often wrong)."
    )


def perhaps_missed(title: str, volume_ml: float) -> str:
    """Nothing of a region was found, but its probabilities add up to a volume."""
    missed = f"{volume_ml:.0f}" if volume_ml >= 1 else f"{volume_ml:.1f}"
    return f"The network found no {inside(title)}, but is uncertain: {missed} mL may have been missed."


def one_sided_lesions(share: float, total_ml: float) -> str:
    """``share``: part of all white-matter lesions that lies in one hemisphere."""
    return (
        f"The lesions lie almost entirely in one hemisphere ({share:.0%} of {total_ml:.0f} mL), which is unusual for "
        "white-matter lesions: a tumour, an infarct or oedema may have been outlined instead."
    )


def unreliable_without(key: str, titles: Sequence[str]) -> str:
    """Regions that the model cannot know without an image of a modality."""
    regions = listed([f"the {inside(title)}" for title in titles])
    volumes = "these volumes" if len(titles) > 1 else "this volume"
    return f"Without a {image(key)} the model cannot segment {regions} reliably; do not interpret {volumes}."
