"""What both modules of ASA use in Slicer: volumes, programs beside the application, dialogs."""
