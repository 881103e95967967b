"""From a finished run to a model folder with its card."""
