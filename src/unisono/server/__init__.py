"""An OpenAI-compatible server over collaborations, with a playground and metrics: `unisono serve`.

It needs the extra `server` (fastapi, uvicorn, prometheus-client); everything here uses the facade and what lies below.
"""
