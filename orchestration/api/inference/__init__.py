"""The models that answer requests, and the search by visual similarity."""
