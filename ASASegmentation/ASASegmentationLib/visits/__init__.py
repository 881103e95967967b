"""Two visits of one person: what changed, over the later scan. `section` is the part of the panel."""
