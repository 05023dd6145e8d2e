"""The worker process: one flow version, many lines at once, JSON Lines over a private pipe.

It runs in the flow's interpreter, which may not have llmops installed: nothing here imports the rest of llmops.
`protocol.md` beside this file states the messages.
"""
