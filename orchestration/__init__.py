"""When the assets run, and for whom."""
