"""The engine protocol over the Docker SDKs: the only place that imports them.

`steps` is the synchronous side (docker-py) for launch and stop steps, `streams` the asynchronous side
(aiodocker) for the supervisor; `payload` builds what create calls send; `faults` reads what engines refuse.
"""
