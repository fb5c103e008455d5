"""The HTTP service: inputs, models, outputs, searches and visualizations of an app."""
