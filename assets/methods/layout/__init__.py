"""From vectors to a mosaic: projection, grid, assignment, refinement, quality."""
