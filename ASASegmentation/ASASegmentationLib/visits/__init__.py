"""Longitudinal comparison of two visits: the change, shown over the later scan. `section` is the part of the panel."""
