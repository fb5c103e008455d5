"""From the base64 or the URL of a request to an input of an app."""
