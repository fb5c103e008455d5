"""The routes: each calls a part of the service, and turns the result into a reply."""
