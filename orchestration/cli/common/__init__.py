"""What several commands share: options, runs, progress in the terminal, folders of results."""
