"""Each photo gets a cell of its own: the solvers, and the proof of how good a result is."""
