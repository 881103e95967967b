"""Brain MRI segmentation with the Attentive Symmetric Auto-encoder.

The engine handles images, networks and tasks, and does not depend on 3D Slicer. Importing it is fast:
packages are imported on demand.
"""

__version__ = "0.1.0"
