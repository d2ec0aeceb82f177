"""A Ray cluster of a head and two nodes on this machine. While a job runs, the node that is
decoding a photo is killed.

    python cluster_run.py BUNDLE SOURCE OUT GO

OUT/result.json holds the outcome. The photo whose decoder waits for the file GO writes its process
to GO.held.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from mcad_mobile.embed.make_shards import Options, embed
from mcad_mobile.embed.source import Source
from mcad_mobile.engine.bundle import Bundle

DEADLINE_S = 600
STORE_BYTES = 80 * 2**20


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def kill_the_node_of(cluster: Cluster, held: Path, go: Path, killed: list[int]) -> None:
    """The decoding process is a child of an actor, which is a child of its node's raylet."""
    end = time.monotonic() + DEADLINE_S
    while not (held.exists() and held.read_text().endswith("\n")):
        if time.monotonic() > end:
            return
        time.sleep(0.05)
    raylet = parent(parent(int(held.read_text())))
    for node in list(cluster.worker_nodes):
        if node.all_processes["raylet"][0].process.pid == raylet:
            cluster.remove_node(node, allow_graceful=False)
            killed.append(raylet)
    go.touch()


def ports() -> dict[str, int]:
    """Return free ports for a node's agents: by themselves, they have fifteen seconds to find some,
    too few on a busy machine."""
    names = ("metrics_agent", "metrics_export", "dashboard_agent_listen", "runtime_env_agent")
    found = [socket.socket() for _ in names]
    for item in found:
        item.bind(("127.0.0.1", 0))
    numbers = {
        f"{name}_port": item.getsockname()[1] for name, item in zip(names, found, strict=True)
    }
    for item in found:
        item.close()
    return numbers


def main() -> None:
    bundle, source, out, go = sys.argv[1:]
    sizes = {"object_store_memory": STORE_BYTES}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, **sizes, **ports()},
    )
    for _ in range(2):
        cluster.add_node(num_cpus=1, **sizes, **ports())
    killed: list[int] = []
    killer = threading.Thread(
        target=kill_the_node_of, args=(cluster, Path(f"{go}.held"), Path(go), killed), daemon=True
    )
    killer.start()
    options = Options(workers=2, photos_a_shard=2, ray=cluster.address)
    result = embed(Source(source), Bundle.load(bundle), out, options)
    killer.join(DEADLINE_S)
    document = {
        "killed": len(killed),
        "nodes": sum(node["Alive"] for node in ray.nodes()),
        "embedded": result.embedded,
        "left_out": [asdict(item) for item in result.left_out],
    }
    (Path(out) / "result.json").write_text(json.dumps(document))
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
