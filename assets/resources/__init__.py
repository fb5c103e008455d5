"""What the assets need from outside: photographs, a device to compute on, a tracking server."""
