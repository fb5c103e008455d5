"""What is computed: assets, their checks, and the methods they call."""
