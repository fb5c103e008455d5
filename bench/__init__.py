"""Comparisons of speed and quality, a script each, and the check of a machine with a card."""
