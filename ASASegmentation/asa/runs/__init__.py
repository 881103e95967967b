"""Run folders, the local queue of runs, and the available devices."""
