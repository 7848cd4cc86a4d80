"""What tasks of distributed runs do in tests."""

from __future__ import annotations

MEET = """
import json, os, socket, time, urllib.request
rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
if rank == 0:
    listening = socket.create_server(("0.0.0.0", address[1]))
    met = [listening.accept()[0] for _ in range(size - 1)]
    ranks = sorted([0, *(int(one.recv(10)) for one in met)])
    for one in met:
        one.sendall(json.dumps(ranks).encode())
        one.close()
else:
    deadline = time.monotonic() + 150
    while True:
        try:
            with socket.create_connection(address, 10) as master:
                master.settimeout(150)
                master.sendall(str(rank).encode())
                ranks = json.loads(master.recv(100))
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
print("met", ranks, flush=True)
with open(os.path.join(os.environ["SEAFLOOR_OUTPUT_DIR"], "rank"), "w") as stream:
    stream.write(str(rank))
with open(os.path.join(os.environ["SEAFLOOR_EVENTS_DIR"], "events.out.tfevents.1"), "w") as stream:
    stream.write(str(rank))
metric = {"run_id": os.environ["MLFLOW_RUN_ID"], "key": f"rank-{rank}", "value": rank}
metric = {**metric, "timestamp": 1, "step": 0}
urllib.request.urlopen(urllib.request.Request(
    os.environ["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow/runs/log-metric",
    json.dumps(metric).encode(),
    {
        "Content-Type": "application/json",
        "Authorization": "Bearer " + os.environ.get("MLFLOW_TRACKING_TOKEN", ""),
    },
), timeout=60).close()
"""

# Both know each other by name: the one fails when the other is sure to be there.
SERVE = """
import os, signal, socket, sys
def leave(*_):
    print("bye", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print("here", flush=True)
with socket.create_server(("0.0.0.0", int(os.environ["MASTER_PORT"]))) as listening:
    while True:
        listening.accept()[0].close()
"""
FAIL = """
import os, socket, sys, time
address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
deadline = time.monotonic() + 150
while True:
    try:
        socket.create_connection(address, 10).close()
        sys.exit(3)
    except OSError:
        if time.monotonic() > deadline:
            raise
        time.sleep(0.2)
"""
