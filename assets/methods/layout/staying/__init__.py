"""Maps that stay: what the next map of a collection keeps of the last one."""
