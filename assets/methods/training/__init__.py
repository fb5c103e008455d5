"""Training a classifier of two classes, and what it starts from."""
