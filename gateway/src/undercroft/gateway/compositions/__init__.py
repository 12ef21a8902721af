"""Views put together from several services: the engine and the compositions themselves."""
