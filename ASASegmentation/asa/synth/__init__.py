"""Synthetic heads: label map -> image by domain randomisation."""

from asa.synth.generator import HeadGenerator, Sample, SynthSettings
from asa.synth.structures import STRUCTURES, to_structures

__all__ = ["STRUCTURES", "HeadGenerator", "Sample", "SynthSettings", "to_structures"]
