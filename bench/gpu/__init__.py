"""The proof on a machine with a card: `collect` what it lacks, carry it there, `run` it."""
