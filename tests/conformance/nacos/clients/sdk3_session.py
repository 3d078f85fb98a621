"""What one can do with PyPI's nacos-sdk-python 3.2.0 over gRPC: every public method of its two services.

python sdk3_session.py SERVERS OTHER_SERVERS FOLDER [NAME PASSWORD]

Rule: two clients, the second with the list of servers in another order; whatever the one does, the other says what it
sees of it. Prints a line of JSON for each step, and last the names of the public methods that no step called.
"""

import asyncio
import functools
import inspect
import json
import sys
import urllib.parse
import urllib.request

from v2.nacos import (
    BatchRegisterInstanceParam,
    ClientConfigBuilder,
    ConfigParam,
    DeregisterInstanceParam,
    GetServiceParam,
    ListInstanceParam,
    ListServiceParam,
    NacosConfigService,
    NacosNamingService,
    RegisterInstanceParam,
    SubscribeServiceParam,
)

WITHIN_S = 30.0
POLL_S = 0.05
GROUP = "sdk3"
STEPS = []
CALLED = set()


def step(function):
    STEPS.append(function)
    return function


def recorded(kind):
    """Note each public method of ``kind`` that is called; returns their names."""
    names = [name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")]
    names = [name for name in names if name in vars(kind)]
    for name in names:
        setattr(kind, name, _noting(kind, name, getattr(kind, name)))
    return [f"{kind.__name__}.{name}" for name in names]


def _noting(kind, name, method):
    @functools.wraps(method)
    async def noted(*arguments, **named):
        CALLED.add(f"{kind.__name__}.{name}")
        return await method(*arguments, **named)

    static = isinstance(inspect.getattr_static(kind, name), staticmethod)
    return staticmethod(noted) if static else noted


async def until(look, wanted):
    """What ``look`` sees, once it is ``wanted`` or the time is over."""
    end_s = asyncio.get_running_loop().time() + WITHIN_S
    while True:
        seen = await look()
        if seen == wanted or asyncio.get_running_loop().time() > end_s:
            return seen
        await asyncio.sleep(POLL_S)


class Heard:
    """A callback that keeps what it was told."""

    def __init__(self):
        self.told = []

    async def config(self, tenant, group, data_id, content):
        self.told.append([group, data_id, content])

    async def instances(self, found):
        self.told.append(sorted(address(each) for each in found))

    async def last(self):
        return self.told[-1] if self.told else None

    async def count(self):
        return len(self.told)


def address(instance):
    return f"{instance.ip}:{instance.port}"


class Pair:
    """A configuration and a naming service of the one client and of the other."""

    def __init__(self, configs, namings, credentials):
        self.config, self.other_config = configs
        self.naming, self.other_naming = namings
        self.credentials = credentials

    async def listed(self, service, **fields):
        """As the other client sees it by asking, not by its cache."""
        asked = {
            "service_name": service,
            "group_name": GROUP,
            "healthy_only": None,
            "subscribe": False,
            **fields,
        }
        found = await self.other_naming.list_instances(ListInstanceParam(**asked))
        return sorted(address(each) for each in found)


def param(data_id, **fields):
    return ConfigParam(data_id=data_id, group=GROUP, **fields)


def instance(service, ip, **fields):
    return RegisterInstanceParam(service_name=service, group_name=GROUP, ip=ip, port=80, **fields)


# ------------------------------------------------------------------------------------------ configuration


@step
async def publish_and_get(pair):
    published = await pair.config.publish_config(param("a.json", content='{"a":1}', type="json"))
    return [published, await until(lambda: pair.other_config.get_config(param("a.json")), '{"a":1}')]


@step
async def get_what_is_not_there(pair):
    return await pair.config.get_config(param("none"))


@step
async def unicode_and_large(pair):
    content = "ä€😀\n" * 100_000
    await pair.config.publish_config(param("large", content=content))
    return (await until(lambda: pair.other_config.get_config(param("large")), content)) == content


@step
async def compare_and_set(pair):
    await pair.config.publish_config(param("cas", content="1"))
    await until(lambda: pair.other_config.get_config(param("cas")), "1")
    wrong = await refused(pair.other_config.publish_config(param("cas", content="2", cas_md5="0" * 32)))
    right = "c4ca4238a0b923820dcc509a6f75849b"
    won = await pair.other_config.publish_config(param("cas", content="3", cas_md5=right))
    return [wrong, won, await until(lambda: pair.config.get_config(param("cas")), "3")]


@step
async def listen(pair):
    heard, also = Heard(), Heard()
    await pair.other_config.add_listener("heard", GROUP, heard.config)
    await pair.other_config.add_listener("heard", GROUP, also.config)
    await pair.config.publish_config(param("heard", content="1"))
    first = await until(heard.last, [GROUP, "heard", "1"])
    await pair.config.publish_config(param("heard", content="2"))
    second = await until(heard.last, [GROUP, "heard", "2"])
    await until(also.last, second)
    await pair.other_config.remove_listener("heard", GROUP, also.config)
    count = len(also.told)
    await pair.config.publish_config(param("heard", content="3"))
    third = await until(heard.last, [GROUP, "heard", "3"])
    return [first, second, third, len(also.told) == count]


@step
async def remove(pair):
    heard = Heard()
    await pair.config.publish_config(param("removed", content="1"))
    await until(lambda: pair.other_config.get_config(param("removed")), "1")
    await pair.other_config.add_listener("removed", GROUP, heard.config)
    removed = await pair.config.remove_config(param("removed"))
    told = await until(heard.last, [GROUP, "removed", ""])
    return [removed, told]


@step
async def config_health(pair):
    return [await pair.config.server_health(), await pair.other_config.server_health()]


# ------------------------------------------------------------------------------------------------- naming


@step
async def register(pair):
    registered = await pair.naming.register_instance(
        instance("plain", "10.0.0.1", cluster_name="c1", weight=2.0, metadata={"zone": "a"})
    )
    await until(lambda: pair.listed("plain"), ["10.0.0.1:80"])
    (seen,) = await pair.other_naming.list_instances(
        ListInstanceParam(service_name="plain", group_name=GROUP, subscribe=False, healthy_only=True)
    )
    shown = [seen.instanceId, seen.weight, seen.metadata, seen.healthy, seen.enabled, seen.ephemeral]
    return [
        registered,
        shown,
        await pair.listed("plain", clusters=["c1"]),
        await pair.listed("plain", clusters=["c2"]),
    ]


@step
async def update(pair):
    await pair.naming.register_instance(instance("updated", "10.0.0.1", weight=1.0))
    await until(lambda: pair.listed("updated"), ["10.0.0.1:80"])
    updated = await pair.naming.update_instance(
        instance("updated", "10.0.0.1", weight=5.0, metadata={"v": "2"})
    )

    async def seen():
        asked = ListInstanceParam(
            service_name="updated", group_name=GROUP, subscribe=False, healthy_only=None
        )
        return [[each.weight, each.metadata] for each in await pair.other_naming.list_instances(asked)]

    return [updated, await until(seen, [[5.0, {"v": "2"}]])]


@step
async def subscribe(pair):
    heard = Heard()
    asked = SubscribeServiceParam(service_name="sub", group_name=GROUP, subscribe_callback=heard.instances)
    await pair.other_naming.subscribe(asked)
    await pair.naming.register_instance(instance("sub", "10.0.0.1"))
    first = await until(heard.last, ["10.0.0.1:80"])
    await pair.naming.deregister_instance(
        DeregisterInstanceParam(service_name="sub", group_name=GROUP, ip="10.0.0.1", port=80)
    )
    second = await until(heard.last, [])
    await pair.other_naming.unsubscribe(asked)
    count = len(heard.told)
    await pair.naming.register_instance(instance("sub", "10.0.0.2"))
    third = await until(lambda: pair.listed("sub"), ["10.0.0.2:80"])
    return [first, second, third, len(heard.told) == count]


@step
async def batch(pair):
    def several(*ips):
        found = [instance("batch", ip) for ip in ips]
        return BatchRegisterInstanceParam(service_name="batch", group_name=GROUP, instances=found)

    registered = await pair.naming.batch_register_instances(several("10.0.0.1", "10.0.0.2", "10.0.0.3"))
    all_three = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]
    seen = await until(lambda: pair.listed("batch"), all_three)
    left = await pair.naming.batch_deregister_instances(several("10.0.0.2"))
    return [registered, seen, left, await until(lambda: pair.listed("batch"), ["10.0.0.1:80", "10.0.0.3:80"])]


@step
async def get_service(pair):
    await pair.naming.register_instance(instance("got", "10.0.0.1"))
    await until(lambda: pair.listed("got"), ["10.0.0.1:80"])
    found = await pair.other_naming.get_service(GetServiceParam(service_name="got", group_name=GROUP))
    return [found.name, found.groupName, [address(each) for each in found.hosts]]


@step
async def list_services(pair):
    names = [f"listed-{number}" for number in range(3)]
    for name in names:
        await pair.naming.register_instance(
            RegisterInstanceParam(service_name=name, group_name="sdk3-list", ip="10.0.0.1", port=80)
        )

    async def page(number):
        asked = ListServiceParam(group_name="sdk3-list", page_no=number, page_size=2)
        found = await pair.other_naming.list_services(asked)
        return [found.count, sorted(found.services)]

    first = await until(lambda: page(1), [3, names[:2]])
    return [first, await page(2)]


@step
async def healthy_only(pair):
    await pair.naming.register_instance(instance("ill", "10.0.0.1", healthy=False))
    await until(lambda: pair.listed("ill"), ["10.0.0.1:80"])
    return [await pair.listed("ill", healthy_only=True), await pair.listed("ill", healthy_only=False)]


@step
async def persistent(pair):
    registered = await pair.naming.register_instance(instance("kept", "10.0.0.1", ephemeral=False))
    seen = await until(lambda: pair.listed("kept"), ["10.0.0.1:80"])
    gone = await pair.naming.deregister_instance(
        DeregisterInstanceParam(
            service_name="kept", group_name=GROUP, ip="10.0.0.1", port=80, ephemeral=False
        )
    )
    return [registered, seen, gone, await until(lambda: pair.listed("kept"), [])]


@step
async def sent_away(pair):
    """An operator sends the client's connection away, which this SDK takes no notice of until it is cut."""
    await pair.naming.register_instance(instance("moved", "10.0.0.1"))
    await until(lambda: pair.listed("moved"), ["10.0.0.1:80"])
    client = pair.naming.grpc_client_proxy.rpc_client
    before = client.current_connection
    await asyncio.to_thread(send_away, before, pair.credentials)

    async def moved():
        return client.current_connection is not before and client.is_running()

    again = await until(moved, True)
    return [again, await until(lambda: pair.listed("moved"), ["10.0.0.1:80"])]


def send_away(connection, credentials):
    server = connection.server_info
    base = f"http://{server.server_ip}:{server.server_port - 1000}/nacos"
    query = {"connectionId": connection.get_connection_id()}
    if credentials:
        form = urllib.parse.urlencode(dict(zip(("username", "password"), credentials, strict=True)))
        with urllib.request.urlopen(f"{base}/v1/auth/users/login", form.encode(), timeout=WITHIN_S) as answer:
            query["accessToken"] = json.load(answer)["accessToken"]
    asked = f"{base}/v2/core/loader/reloadClient?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(asked, timeout=WITHIN_S) as answer:
        answer.read()


@step
async def wrong_parameters(pair):
    return [
        await refused(pair.naming.register_instance(instance("a b", "10.0.0.1"))),
        await refused(pair.config.get_config(ConfigParam(data_id="a b", group=GROUP))),
        await refused(pair.config.get_config(ConfigParam(data_id="", group=GROUP))),
    ]


@step
async def naming_health(pair):
    return [await pair.naming.server_health(), await pair.other_naming.server_health()]


@step
async def shutdown(pair):
    """What the one registered goes with it."""
    await pair.naming.register_instance(instance("bye", "10.0.0.1"))
    before = await until(lambda: pair.listed("bye"), ["10.0.0.1:80"])
    await pair.naming.shutdown()
    after = await until(lambda: pair.listed("bye"), [])
    await pair.config.shutdown()
    return [before, after]


async def refused(work):
    """The error code that ``work`` fails with; None: it did not."""
    from v2.nacos.common.nacos_exception import NacosException

    try:
        await work
    except NacosException as error:
        return error.error_code
    return None


async def connect(servers, folder, name, credentials):
    builder = ClientConfigBuilder().server_address(servers).log_level("ERROR")
    builder = builder.log_dir(f"{folder}/{name}/log").cache_dir(f"{folder}/{name}/cache")
    if credentials:
        builder = builder.username(credentials[0]).password(credentials[1])
    config = builder.build()
    config.update_cache_when_empty = True
    config.disable_use_config_cache = True
    configs = await NacosConfigService.create_config_service(config)
    return configs, await NacosNamingService.create_naming_service(config)


async def main(servers, others, folder, *credentials):
    public = recorded(NacosConfigService) + recorded(NacosNamingService)
    config, naming = await connect(servers, folder, "one", credentials)
    other_config, other_naming = await connect(others, folder, "other", credentials)
    pair = Pair((config, other_config), (naming, other_naming), credentials)
    for each in STEPS:
        print(json.dumps([each.__name__, await each(pair)]), flush=True)
    await other_naming.shutdown()
    await other_config.shutdown()
    print(json.dumps(["uncalled", sorted(set(public) - CALLED)]), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
