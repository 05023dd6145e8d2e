"""Azure Machine Learning on this machine: what `azure-ai-ml` and `promptflow-azure` talk to, over TLS on loopback.

The unmodified SDKs reach it through a proxy with an allow list. Flows are really executed and deployments really
serve; latency, phases and faults are chosen. `docs/emulator.md` says what is emulated and how each answer is known.
"""
