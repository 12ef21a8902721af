"""An application that does nothing: what FastAPI and Uvicorn take for a request."""

from fastapi import FastAPI

app = FastAPI(openapi_url=None)


@app.get("/")
async def read() -> dict[str, str]:
    """Answer a reading."""
    return {"status": "ok"}
