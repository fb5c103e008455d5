"""The routes: from a request to a call, and from what it gives to a reply."""
