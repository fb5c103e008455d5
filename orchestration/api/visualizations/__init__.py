"""The photo maps that apps request: their runs, their states, and their page."""
