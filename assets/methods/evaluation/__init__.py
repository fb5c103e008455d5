"""The metrics of a classifier on labelled photos: intervals, calibration, curves, champions."""
