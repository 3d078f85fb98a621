"""Why a request goes where it goes: Envoy's decisions, made again over the configuration that it was, or will be, given.

Rule: it reads the *compiled* messages, never the documents: what is explained is what the proxy does, also where the
compiler is wrong; so a config dump of a running proxy is explained by the same code. ``tests/conformance/mesh`` holds it
against the access log of a real Envoy.
"""
