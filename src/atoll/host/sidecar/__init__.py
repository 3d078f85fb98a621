"""``atoll sidecar`` and ``atoll gateway``: an Envoy and the application behind it, started and stopped in the right order.

``machine`` decides, ``supervisor`` does; ``bootstrap`` says what Envoy is started with, ``capture`` which packets are led
into it. See docs/how-to/run-a-sidecar.md.
"""
