"""Run in the environment of nacos-sdk-python 0.1.14 or 2.0.11: every public method of ``NacosClient``, over HTTP v1.

Prints one JSON line ``[step, seen]`` for each step. Usage: sdk_http_session.py SERVERS SERVERS_OF_THE_SECOND FOLDER GROUP
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import nacos
from nacos.listener import Event, SubscribeListener

GROUP = sys.argv[4]
WITHIN_S = 60.0
PAUSE = threading.Event()  # never set


def client(servers: str, folder: str, number: int) -> Any:
    made = nacos.NacosClient(servers, namespace="")
    made.set_options(
        snapshot_base=f"{folder}/snapshot-{number}",
        failover_base=f"{folder}/failover-{number}",
        no_snapshot=True,
        default_timeout=10,
        pulling_timeout=12,
        callback_thread_num=2,
    )
    return made


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WITHIN_S
    while True:
        seen = condition()
        if seen or time.monotonic() > deadline:
            return seen
        PAUSE.wait(0.1)


def addresses(found: Any) -> list[str]:
    return sorted(f"{each['ip']}:{each['port']}" for each in found["hosts"])


class Session:
    """``one`` acts, ``two`` looks."""

    def __init__(self, first: str, second: str, folder: str) -> None:
        self.one, self.two = client(first, folder, 1), client(second, folder, 2)
        self.heard: list[Any] = []

    def steps(self) -> list[tuple[str, Callable[[], Any]]]:
        names = [name for name in dir(self) if name.startswith("step_")]
        return [(name[5:], getattr(self, name)) for name in sorted(names)]

    # ------------------------------------------------------------------------------------- configuration

    def step_a_publish_and_get(self) -> Any:
        done = self.one.publish_config("a.json", GROUP, '{"a":1}', app_name="shop", config_type="json")
        return [done, until(lambda: self.two.get_config("a.json", GROUP))]

    def step_b_unicode_and_large(self) -> Any:
        text = "你好 &=+%\n" + "x" * 300_000
        self.one.publish_config("large", GROUP, text)
        return until(lambda: self.two.get_config("large", GROUP) == text)

    def step_c_what_is_not_there(self) -> Any:
        return self.two.get_config("never", GROUP)

    def step_d_get_configs(self) -> Any:
        found = until(lambda: self.two.get_configs(group=GROUP, page_no=1, page_size=10))
        return sorted(each["dataId"] for each in found["pageItems"])

    def step_e_watch(self) -> Any:
        self.two.add_config_watcher("watched", GROUP, self._hear)
        self.one.publish_config("watched", GROUP, "1")
        first = until(lambda: [each for each in self.heard if each["content"] == "1"])
        self.one.publish_config("watched", GROUP, "2")
        second = until(lambda: [each for each in self.heard if each["content"] == "2"])
        return [bool(first), bool(second), second[0]["data_id"], second[0]["group"]]

    def _hear(self, change: Any) -> None:
        self.heard.append(change)

    def step_f_watchers(self) -> Any:
        other: list[Any] = []
        self.two.add_config_watchers("watched-2", GROUP, [self._hear, other.append])
        self.one.publish_config("watched-2", GROUP, "3")
        seen = until(lambda: [each for each in other if each["content"] == "3"])
        self.two.remove_config_watcher("watched-2", GROUP, self._hear)
        self.two.remove_config_watcher("watched-2", GROUP, other.append, True)
        self.two.remove_config_watcher("watched", GROUP, self._hear, True)
        return bool(seen)

    def step_g_remove(self) -> Any:
        done = self.one.remove_config("a.json", GROUP)
        return [done, until(lambda: self.two.get_config("a.json", GROUP) is None)]

    # ------------------------------------------------------------------------------------------- naming

    def _hosts(self, name: str, **more: Any) -> list[str]:
        return addresses(self.two.list_naming_instance(name, group_name=GROUP, **more))

    def step_h_register(self) -> Any:
        done = self.one.add_naming_instance(
            "plain", "10.0.0.1", 80, "c1", 2.0, {"zone": "a"}, True, True, group_name=GROUP
        )
        until(lambda: self._hosts("plain"))
        host = self.two.list_naming_instance("plain", group_name=GROUP)["hosts"][0]
        seen = [host["instanceId"], host["weight"], host["metadata"], host["healthy"], host["ephemeral"]]
        return [done, seen, self._hosts("plain", clusters="c1"), self._hosts("plain", clusters="c2")]

    def step_i_beat(self) -> Any:
        return self.one.send_heartbeat("plain", "10.0.0.1", 80, "c1", 2.0, {"zone": "a"}, group_name=GROUP)

    def step_j_get(self) -> Any:
        self.one.add_naming_instance(f"own-{GROUP}", "10.0.0.2", 81)
        until(lambda: addresses(self.two.list_naming_instance(f"own-{GROUP}")))
        found = self.two.get_naming_instance(f"own-{GROUP}", "10.0.0.2", 81)
        return [found["service"], found["ip"], found["port"], found["healthy"]]

    def step_k_modify(self) -> Any:
        self.one.add_naming_instance(f"changed-{GROUP}", "10.0.0.3", 82, "c1")
        until(lambda: addresses(self.two.list_naming_instance(f"changed-{GROUP}")))
        done = self.one.modify_naming_instance(
            f"changed-{GROUP}", "10.0.0.3", 82, "c1", weight=5.0, metadata={"v": "2"}
        )
        host = until(lambda: self._changed())
        return [done, host["metadata"]]

    def _changed(self) -> Any:
        hosts = self.two.list_naming_instance(f"changed-{GROUP}")["hosts"]
        return hosts[0] if hosts and hosts[0]["weight"] == 5.0 else None

    def step_l_persistent(self) -> Any:
        done = self.one.add_naming_instance("kept", "10.0.0.4", 83, "c1", ephemeral=False, group_name=GROUP)
        there = until(lambda: self._hosts("kept"))
        gone = self.one.remove_naming_instance(
            "kept", "10.0.0.4", 83, "c1", ephemeral=False, group_name=GROUP
        )
        return [done, there, gone, until(lambda: not self._hosts("kept"))]

    def step_m_subscribe(self) -> Any:
        events: list[Any] = []
        listener = SubscribeListener(lambda event, one: events.append(event), "follower")
        self.two.subscribe(listener, 1, f"followed-{GROUP}")
        self.one.add_naming_instance(f"followed-{GROUP}", "10.0.0.5", 84)
        self.one.add_naming_instance(f"followed-{GROUP}", "10.0.0.6", 84)
        added = until(lambda: [event for event in events if event == Event.ADDED])
        self.one.remove_naming_instance(f"followed-{GROUP}", "10.0.0.5", 84)
        deleted = until(lambda: [event for event in events if event == Event.DELETED])
        self.two.unsubscribe(f"followed-{GROUP}", "follower")
        self.two.stop_subscribe()
        return [bool(added), bool(deleted)]

    def step_n_deregister(self) -> Any:
        done = self.one.remove_naming_instance("plain", "10.0.0.1", 80, "c1", group_name=GROUP)
        return [done, until(lambda: not self._hosts("plain"))]

    def step_o_healthy_only(self) -> Any:
        self.one.add_naming_instance("ill", "10.0.0.7", 85, healthy=True, group_name=GROUP)
        return until(lambda: self._hosts("ill", healthy_only=True))

    def step_p_wrong(self) -> Any:
        try:
            self.one.add_naming_instance("a b", "10.0.0.1", 80)
        except nacos.NacosException as error:
            return str(error)
        return "taken"


def main() -> None:
    session = Session(*sys.argv[1:4])
    for name, step in session.steps():
        print(json.dumps([name[2:], step()]), flush=True)


if __name__ == "__main__":
    main()
