"""Code shared by both Slicer modules: volumes, external processes, dialogs."""
