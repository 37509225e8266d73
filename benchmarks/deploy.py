"""A live server under load, and where the time of a frame goes, beside the accuracy.

``load`` starts two servers as processes, one that answers frame by frame and one that batches, and lets so many devices
ask them in turn, each as soon as it has its answer. Devices are simulated: their frames are made beforehand, so what is
measured is server, sockets and protocol. ``stages`` runs frames one by one in this process (`audit.live.profiling`).

Runs like these:
  python -m benchmarks.deploy load --victim vit_cifar10 --data cifar10_test.tar --exit-layer 3
  python -m benchmarks.deploy load --json --devices 1 8 32 --batch 16 --wait 2
  python -m benchmarks.deploy stages --victim vit_cifar10 --data cifar10_test.tar --policy none moderate aggressive
"""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import zmq

from atm import policy as policies
from atm.errors import AtmError
from atm.seeds import seed_of
from audit.adversary import samples
from audit.live.device import encode
from audit.live.profiling import profile
from audit.live.protocol import Answer, Frame, Hello, Refused, Welcome, unpack
from audit.live.relay import Air, schedule_of
from audit.live.sockets import DEALER, Address, network
from audit.live.sources import Shot, Stills, shots
from audit.live.system import Live, LiveConfig, resolve
from benchmarks.command import Parser, positive, run
from benchmarks.rows import markdown, show

SYSTEM = ("victim", "weights", "image_size", "head", "codec", "channel")
PATIENCE = 60_000  # milliseconds for an answer


@dataclass
class Device:
    """A simulated device: its socket, its session, and the seconds that each of its answers took."""

    socket: zmq.Socket[bytes]
    session: bytes = b""
    number: int = 0
    sent_at: float = 0.0
    seconds: list[float] = field(default_factory=list)

    def send(self, frame: Frame) -> None:
        """One more frame, with the symbols of some other."""
        changed = frame.model_copy(update={"session": self.session, "number": self.number})
        self.number, self.sent_at = self.number + 1, time.perf_counter()
        self.socket.send(changed.pack())


def frames(live: Live, config: LiveConfig) -> list[Frame]:
    """What devices send, behind the channel."""
    images, air = samples(config, live.link.signal).victims.images, Air(schedule_of(config.channel, None))
    modes = live.modes
    return [
        air.carry(encode(modes[number % len(modes)], Shot(number, images[number], 0.0), 0).frame(bytes(16)))
        for number in range(len(images))
    ]


@contextmanager
def server(words: Sequence[str], where: Address, batch: int, wait: float) -> Iterator[None]:
    """``atm serve`` as a process."""
    command = [sys.executable, "-m", "atm", "serve", "--listen", str(where), "--batch", str(batch), "--wait", str(wait)]
    process = subprocess.Popen([*command, *words], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        if not any("serving on" in line for line in process.stderr):
            raise AtmError("the server did not start")
        yield
    finally:
        process.terminate()
        process.wait()


def joined(sockets: Sequence[zmq.Socket[bytes]], live: Live) -> list[Device]:
    """Devices that have said hello."""
    hello = Hello(system=live.agreement, policies=[mode.agreement for mode in live.modes]).pack()
    devices = [Device(each) for each in sockets]
    for device in devices:
        device.socket.poll(PATIENCE, zmq.POLLOUT)
        device.socket.send(hello)
        device.session = unpack(_answer(device.socket), Welcome).session
    return devices


def asked(devices: Sequence[Device], sent: Sequence[Frame], count: int) -> tuple[float, list[int]]:
    """Seconds in which devices get so many answers together, each asking as soon as it has one; sizes of batches."""
    poller, together = zmq.Poller(), list[int]()
    by_socket = {device.socket: device for device in devices}
    for device in devices:
        poller.register(device.socket, zmq.POLLIN)
    began, left = time.perf_counter(), count
    for number, device in enumerate(devices[:left]):
        device.send(sent[number % len(sent)])
    waiting, left = min(len(devices), count), count - min(len(devices), count)
    while waiting:
        ready = dict(poller.poll(PATIENCE))
        if not ready:
            raise AtmError("the server does not answer")
        for each in ready:
            device = by_socket[each]
            reply = unpack(each.recv(), Answer, Refused)
            if isinstance(reply, Refused):
                raise AtmError(f"refused: {reply.words}")
            device.seconds.append(time.perf_counter() - device.sent_at)
            together.append(reply.together)
            waiting -= 1
            if left:
                device.send(sent[left % len(sent)])
                waiting, left = waiting + 1, left - 1
    return time.perf_counter() - began, together


def load(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each number of devices and each way of answering, and how many times as fast batches are."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        config = LiveConfig(**_system(options), policies=tuple(_written(options, Path(folder))), images=options.images)
        live = resolve(config, sends=True)
        sent = frames(live, config)
        words = [word for name, value in _system(options).items() if name != "data" for word in _word(name, value)]
        words += [word for each in config.policies for word in ("--policy", each)]
        sockets = stack.enter_context(network(None))
        ways = {1: _free(), options.batch: _free()}
        for batch, where in ways.items():
            stack.enter_context(server(words, where, batch, options.wait if batch > 1 else 0.0))
        for count in options.devices:
            rates: dict[int, list[float]] = {batch: [] for batch in ways}
            devices = {
                batch: joined([sockets.connect(DEALER, where, live.most_bytes) for _ in range(count)], live)
                for batch, where in ways.items()
            }
            sizes: dict[int, list[int]] = {batch: [] for batch in ways}
            for turn in range(options.turns + 1):
                for batch in ways:
                    seconds, together = asked(devices[batch], sent, options.frames)
                    if turn:  # the first warms up
                        rates[batch].append(options.frames / seconds)
                        sizes[batch] += together
                    else:
                        for device in devices[batch]:
                            device.seconds.clear()
            medians = {batch: statistics.median(values) for batch, values in rates.items()}
            for batch in ways:
                taken = 1000 * np.concatenate([device.seconds for device in devices[batch]])
                quantiles = {f"p{q}_ms": round(float(np.percentile(taken, q)), 2) for q in (50, 95, 99)}
                slowest = max(float(np.median(device.seconds)) for device in devices[batch])
                fairness = slowest / min(float(np.median(device.seconds)) for device in devices[batch])
                yield {
                    "part": "load", "victim": options.victim, "policy": options.policy,
                    "exit_layer": options.exit_layer,
                    "devices": count, "batch": batch, "together": round(float(np.mean(sizes[batch])), 1),
                    "frames_a_second": round(medians[batch], 1), **quantiles,
                    "slowest_device_over_fastest": round(fairness, 2), "ratio": round(medians[batch] / medians[1], 2),
                }  # fmt: skip


def stages(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each policy: milliseconds by part of the way, and the accuracy over the same channel."""
    with TemporaryDirectory() as folder:
        for name in _written(options, Path(folder)):
            config = LiveConfig(**_system(options), policies=(name,), images=options.images)
            live = resolve(config, sends=True)
            data = samples(config, live.link.signal).victims
            found = profile(live, shots(Stills(data.images)), options.warmup, 1).stages
            encoder = [key for key in found if key == "embed" or key.startswith("layer")]
            parts = {
                "encoder": np.sum([found[key] for key in encoder], 0),
                "device codec": found["defence and codec"] + found["header"],
                "server codec": found["server, codec"],
                "server layers": found["server, layers and head"],
                "together": found["together"] - found["capture"] - found["channel (simulated)"],
            }
            sent = live.link.transmit(data.images[:], seed=seed_of("channel", 0), batch=32)
            yield {
                "part": "stages", "victim": options.victim, "policy": live.modes[0].name,
                "exit_layer": live.link.policy.device_layers, "frames": len(found["together"]),
                "tokens": round(float(sent.sent.lengths.double().mean()), 1),
                "symbols": round(float(sent.symbols.double().mean()), 1),
                "accuracy": round(float((sent.logits.argmax(-1).cpu() == data.labels).double().mean()), 4),
                **{f"{part}, ms": round(float(1000 * np.median(values)), 2) for part, values in parts.items()},
                "together, p95 ms": round(float(1000 * np.quantile(parts["together"], 0.95)), 2),
            }  # fmt: skip


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown."""
    headings = list(rows[0])[1:]
    return markdown(headings, ([_cell(row[each]) for each in headings] for row in rows))


def _cell(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


def _system(options: argparse.Namespace) -> dict[str, Any]:
    given = {name: getattr(options, name) for name in (*SYSTEM, "data")}
    return {"device": "cpu", "auxiliary": 20, **{name: value for name, value in given.items() if value is not None}}


def _word(name: str, value: Any) -> list[str]:
    return [] if name == "auxiliary" else [f"--{name.replace('_', '-')}", str(value)]


def _written(options: argparse.Namespace, folder: Path) -> Iterator[str]:
    """The policies, sent after the layer that was asked for."""
    from atm.victims import load_victim

    if options.exit_layer is None:
        yield from options.policy
        return
    depth = load_victim(options.victim, options.weights, image_size=options.image_size).encoder.depth
    for name in options.policy:
        found = policies.load(name, depth)
        changed = type(found)(**{**vars(found), "exit_layer": options.exit_layer})
        changed.write(folder / f"{found.name}.yaml")
        yield str(folder / f"{found.name}.yaml")


def _answer(each: zmq.Socket[bytes]) -> bytes:
    if not each.poll(PATIENCE):
        raise AtmError("the server does not answer")
    return each.recv()


def _free() -> Address:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return Address("127.0.0.1", taken.getsockname()[1])


def main() -> None:
    """The command line."""
    parser = Parser("deploy", __doc__)
    parser.add_argument("part", choices=("load", "stages"), help="what is measured")
    parser.add_argument("--victim", default="vit_photos", help="as in atm serve, as are the next three")
    parser.add_argument("--weights", help="safetensors file with the victim's weights")
    parser.add_argument("--image-size", help="side of its pictures in pixels, 224 or 224x160")
    parser.add_argument("--head", help="file of atm train head")
    parser.add_argument("--data", default="photos", help="pictures that are sent, as in atm attack")
    parser.add_argument("--codec", default="auto", help="as in atm serve")
    parser.add_argument("--channel", default="awgn:10", help="as in atm device")
    parser.add_argument("--policy", nargs="+", default=["moderate"], help="merging policies")
    parser.add_argument("--exit-layer", type=positive, help="after which tokens are sent; default: the policies'")
    parser.add_argument("--images", type=positive, default=100, help="pictures that frames are made of")
    parser.add_argument("--warmup", type=int, default=10, help="of stages: frames that do not count")
    parser.add_argument(
        "--devices", type=positive, nargs="+", default=[1, 2, 4, 8, 16, 32], help="of load: numbers of devices"
    )
    parser.add_argument("--batch", type=positive, default=16, help="of load: frames answered together, at most")
    parser.add_argument("--wait", type=float, default=0.0, help="of load: milliseconds that a batch waits for more")
    parser.add_argument("--frames", type=positive, default=200, help="of load: in each turn")
    parser.add_argument("--turns", type=positive, default=3, help="of load: of which the median counts")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    torch.set_num_threads(1)
    show((load if options.part == "load" else stages)(options), options.json, table)


if __name__ == "__main__":
    run(main)
