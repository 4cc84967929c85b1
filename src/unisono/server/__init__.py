"""The server of `unisono serve`. It offers collaborations of models through OpenAI's API, with a playground and
metrics.

The package needs the packages of the extra `server`: fastapi, uvicorn and prometheus-client.
"""
