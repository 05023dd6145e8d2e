"""The model gateway: one loopback endpoint, in a child process, that every model call of every worker goes through.

It caches, records, replays, counts, paces and retries. The driver uses `GatewayProcess`; the server runs as
`python -m llmops.engine.gateway`. The real keys stay in it: a worker gets a token that is good for one run.
"""
