"""What is computed: assets, their checks, and the methods they call."""

# The name on the package index, where `tessera` belongs to somebody else.
DISTRIBUTION = "tessera-photo-map"
