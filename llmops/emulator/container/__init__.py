"""The process that stands for the container of one deployment.

It runs by path, in any interpreter with promptflow-core: `python <this folder>` with `LLMOPS_CONTAINER_PORT`, in the
model's folder. It imports nothing of llmops.
"""
