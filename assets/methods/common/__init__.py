"""Used by all other packages: errors, files written whole, digests, progress, devices, threads."""
