"""Photo maps that apps ask for: carried out, looked at, shown."""
