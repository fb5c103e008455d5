"""What a classifier is worth on labelled photos: intervals, calibration, curves, champions."""
