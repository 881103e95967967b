"""Brain MRI segmentation with the Attentive Symmetric Auto-encoder.

The engine: it knows images, networks and tasks, and nothing of 3D Slicer. Importing it costs nothing; each floor is
imported by whoever needs it.
"""

__version__ = "0.1.0"
