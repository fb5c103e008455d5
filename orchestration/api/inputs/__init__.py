"""How images come in: from base64 or an address to the inputs of an app."""
