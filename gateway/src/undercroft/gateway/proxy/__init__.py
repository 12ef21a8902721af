"""The pipeline that every request passes, as raw ASGI: read, check, admit, forward."""
