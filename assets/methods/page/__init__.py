"""The map as a page: a folder of files that a browser opens without a server or a network."""
