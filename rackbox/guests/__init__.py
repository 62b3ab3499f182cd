"""The guest images of the demo and the tests: `tiny`, up in seconds, and `debian-12`, a real cloud image."""
