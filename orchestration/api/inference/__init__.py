"""The models that answer requests, and the search by likeness."""
