"""Names of services as documents write them, and the canonical hosts that they may stand for.

Rule: a name without a dot is a service of the document's namespace; ``name.NAMESPACE`` and ``name.NAMESPACE.svc`` are
services of that one; anything else, and also a name of the second form, may be a host that a ``ServiceEntry`` tells of.
Who knows which hosts there are takes the first candidate that is one.

The registry's namespace ``public`` is Istio's ``default``; hosts spell it ``default``.
"""

from __future__ import annotations

from atoll.resources import namespace as registry_namespace

DEFAULT_NAMESPACE = "default"
DEFAULT_DOMAIN = "cluster.local"
DEFAULT_ROOT_NAMESPACE = "istio-system"


def namespace_of(text: str) -> str:
    """The spelling that documents and hosts use."""
    return DEFAULT_NAMESPACE if text in ("", registry_namespace.PUBLIC) else text


def candidates(name: str, namespace: str, domain: str = DEFAULT_DOMAIN) -> tuple[str, ...]:
    """Hosts that ``name`` may mean in a document of ``namespace``, the likeliest first. ``*`` labels stay."""
    name = name.lower().rstrip(".")
    if "." not in name:
        return (name,) if name == "*" else (f"{name}.{namespace_of(namespace)}.svc.{domain}", name)
    if name.endswith(".svc"):
        return (f"{name}.{domain}", name)
    if name.count(".") == 1 and not name.startswith("*"):
        service, space = name.split(".")
        return (name, f"{service}.{namespace_of(space)}.svc.{domain}")
    return (name,)


def matches(pattern: str, host: str) -> bool:
    """Whether ``host``, which may be a pattern itself, lies in ``pattern``: equal, or behind its leading ``*``."""
    if pattern == host or pattern == "*":
        return True
    return pattern.startswith("*") and host.removeprefix("*").endswith(pattern[1:])


def overlap(one: str, other: str) -> bool:
    """Whether there is a host that lies in both patterns."""
    return matches(one, other) or matches(other, one)
