# Every rank finds every other by name; rank 0 gathers a value from each over TCP. Run by /bin/sh.
echo "rank $RANK of $WORLD_SIZE on $(hostname), master $MASTER_ADDR:$MASTER_PORT"
python3 - <<'PROGRAM'
import os, socket, time

rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
master = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))

for peer in range(size):
    print(f"rank {rank}: rank-{peer} is {socket.gethostbyname(f'rank-{peer}')}", flush=True)

if rank == 0:
    with socket.create_server(("", master[1])) as server:
        server.settimeout(60)
        values = {0: 1}
        while len(values) < size:
            peer, _ = server.accept()
            with peer:
                sender, value = peer.makefile().readline().split()
            values[int(sender)] = int(value)
    expected = {peer: (peer + 1) ** 2 for peer in range(size)}
    assert values == expected, (values, expected)
    print(f"gathered {[values[peer] for peer in range(size)]} from {size} ranks, sum {sum(values.values())}")
else:
    deadline = time.monotonic() + 60
    while True:
        try:
            with socket.create_connection(master, timeout=5) as connection:
                connection.sendall(f"{rank} {(rank + 1) ** 2}\n".encode())
            break
        except OSError:
            # The others may be quicker than rank 0 opens its port.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    print(f"rank {rank}: sent {(rank + 1) ** 2} to rank 0")
PROGRAM
