"""OpenAI's API, with the extensions that vLLM's server has."""
