"""The server of `unisono serve`, which offers collaborations of models through OpenAI's API.

It also has a playground and metrics. The package needs the extra `server`: fastapi, uvicorn and prometheus-client.
"""
