"""The server of `unisono serve`: it offers collaborations behind OpenAI's API, with a playground and metrics.

The package needs the extra `server` (fastapi, uvicorn, prometheus-client).
"""
