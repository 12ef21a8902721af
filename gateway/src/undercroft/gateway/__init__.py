"""The only public door: authenticates, limits, forwards and composes."""
