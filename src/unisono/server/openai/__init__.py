"""Endpoints in the form of OpenAI's API, with the extensions of vLLM's server."""
