"""The policy documents of the mesh, as their users write them: Istio's kinds and the Gateway API's, and one of our own.

Rule: one module a kind; a struct has exactly the fields that are supported, under the names and with the defaults that
their specification gives them, so that an unset field is told from a set one. What a document may say besides and is
refused stands beside it in ``REFUSED``, with what to do instead. ``kinds`` lists the kinds, ``reading`` reads documents.

Sources: Istio 1.27's API reference (networking, security, telemetry), Gateway API 1.3.
"""
