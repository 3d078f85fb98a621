"""From what naming answers to what the API shows of it."""

from __future__ import annotations

from atoll.planes.registry.model.naming import ClientView, ServiceInfo, ServiceSummary, SubscriberView
from atoll.resources import naming_api as shown


def hosts(info: ServiceInfo) -> shown.Hosts:
    return shown.Hosts(info.key, info.hosts, info.protected, info.stale)


def summary(found: ServiceSummary) -> shown.ServiceSummary:
    return shown.ServiceSummary(found.key, found.ephemeral, found.clusters, found.instances, found.healthy)


def subscriber(found: SubscriberView) -> shown.SubscriberShown:
    return shown.SubscriberShown(
        node=found.node,
        client=found.client,
        address=found.address,
        app=found.app,
        version=found.version,
        clusters=found.clusters,
        pushed_s=found.pushed_s,
        acknowledged_s=found.acknowledged_s,
    )


def client(found: ClientView) -> shown.ClientShown:
    return shown.ClientShown(
        id=found.id,
        node=found.node,
        kind=found.kind,
        address=found.address,
        app=found.app,
        version=found.version,
        opened_s=found.opened_s,
        updated_s=found.updated_s,
        published=found.published,
        subscribed=found.subscribed,
    )
