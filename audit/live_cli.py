"""``atm serve``, ``atm device``, ``atm channel``, ``atm listen`` and ``atm key``: the link as processes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from atm.text import printable
from audit.options import Channel, Experiment, Json, Seed, Threat, configured, of_system, out
from audit.progress import Progress, loading

Policy = Annotated[str, typer.Option(help="Policy preset, uniform-T, tome-R or YAML file.")]
Policies = Annotated[
    list[str] | None,
    typer.Option(help="Policy preset, uniform-T, tome-R or YAML file; repeatable: devices may change. [moderate]"),
]
Images = Annotated[int, typer.Option(help="Pictures of --data: those that atm attack would attack.")]
Auxiliary = Annotated[int, typer.Option(help="The adversary's own pictures, and a defence's to be fitted to, at most.")]
Key = Annotated[str | None, typer.Option(help="File of atm key, the same for all; needed beyond this machine.")]
Insecure = Annotated[bool, typer.Option("--insecure", help="Without a key beyond this machine: anybody may join.")]
Listen = Annotated[str, typer.Option(help="HOST:PORT to listen on.")]
SERVER, AIR, EARS = "127.0.0.1:5555", "127.0.0.1:5556", "127.0.0.1:5557"


@of_system("data", "auxiliary_data", "group_by", "label_by", "threat", "seed", before="batch")
def serve(
    context: typer.Context,
    experiment: Experiment = None,
    listen: Listen = SERVER,
    key: Key = None,
    insecure: Insecure = False,
    policy: Policies = None,
    batch: Annotated[int, typer.Option(help="Frames that are answered together, at most, one of each device.")] = 16,
    wait: Annotated[float, typer.Option(help="Milliseconds for which a frame waits for others to go with.")] = 0.0,
) -> None:
    """Answer devices: decode their tokens, run the remaining layers and the task head. Ctrl-C ends it."""
    with loading():
        from audit.live.server import Server
        from audit.live.serving import Serving, check
        from audit.live.showing import say_line, until_asked
        from audit.live.sockets import ROUTER, Address, key_for, network
        from audit.live.system import LiveConfig, resolve

    where = Address.parse(listen)
    shared = key_for(key, insecure, [where])
    check(batch, wait / 1000)
    live = resolve(configured(context, LiveConfig, experiment), sends=False)
    with network(shared) as sockets, until_asked() as stop:
        socket = sockets.bind(ROUTER, where, live.most_bytes)
        server = Server(live, say_line)
        say_line(f"serving on {where}")
        Serving(server, socket, batch, wait / 1000).run(stop)
        say_line(f"{server.answered} frames answered, {server.refused} messages refused")


@of_system("threat", before="images")
def device(
    context: typer.Context,
    experiment: Experiment = None,
    connect: Annotated[str, typer.Option(help="HOST:PORT of the server, or of atm channel.")] = SERVER,
    frames: Annotated[
        str | None, typer.Option(help="camera, camera:1, a picture, folder or tar; default: --images of --data.")
    ] = None,
    passes: Annotated[int, typer.Option(help="How often the pictures are sent; 0 is without end.")] = 1,
    fps: Annotated[
        float, typer.Option(help="Pictures a second, of which a slow server gets the newest; 0: as it answers, all.")
    ] = 0.0,
    timeout: Annotated[float, typer.Option(help="Seconds after which a frame counts as lost.")] = 5.0,
    patience: Annotated[float, typer.Option(help="Seconds without a word from the server before giving up.")] = 60.0,
    page: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of this machine for a live page; 0: any that is free.")
    ] = None,
    ear: Annotated[str | None, typer.Option(help="HOST:PORT of atm listen --publish, for the page.")] = None,
    adapt: Annotated[
        str | None, typer.Option(help="Folder of an atm sweep of the policies: they are then chosen by the SNR.")
    ] = None,
    floor: Annotated[
        float | None, typer.Option(help="With --adapt: the most that may leak, by the sweep. [0.5, recognisable]")
    ] = None,
    room: Annotated[
        float | None, typer.Option(help="With --adapt: symbols that the air has for a frame. [no limit]")
    ] = None,
    key: Key = None,
    insecure: Insecure = False,
    policy: Policies = None,
    images: Images = 100,
    auxiliary: Auxiliary = 4000,
    as_json: Json = False,
) -> None:
    """Send pictures: encode, merge, defend and code them, and print the answers."""
    with loading():
        from atm.errors import AtmError
        from audit.live.choosing import Choice
        from audit.live.controller import Controller
        from audit.live.device import Uplink, stream
        from audit.live.measured import candidates
        from audit.live.showing import say_line, show_answer, until_asked
        from audit.live.sockets import DEALER, Address, key_for, network
        from audit.live.sources import Newest, shots, source_of
        from audit.live.system import LiveConfig, resolve
        from audit.live.watching import overhearing, watched

    where, heard = Address.parse(connect), None if ear is None else Address.parse(ear)
    shared = key_for(key, insecure, [where, *([heard] if heard else [])])
    if heard is not None and page is None:
        raise AtmError("--ear is for the live page; give --page PORT too")
    if not 0 <= fps <= 1000:
        raise AtmError(f"--fps {fps:g} must be from 0 to 1000 pictures a second")
    if adapt is None and (floor, room) != (None, None):
        raise AtmError("--floor and --room are for policies that are chosen by the SNR; give --adapt FOLDER too")
    config = configured(context, LiveConfig, experiment)
    live = resolve(config, sends=True)
    most = live.link.signal.bar.recognisable if floor is None else floor
    controller = None if adapt is None else Controller(candidates(adapt, live), most)
    choice = Choice(live.modes, controller, math.inf if room is None else room, say_line)
    source = source_of(frames, config, live.link.signal, passes)
    paced = Newest(source, fps) if fps else None
    watch = None if page is None else watched(page, live, choice, config)
    with network(shared) as sockets, until_asked() as stop, overhearing(watch, sockets, heard):
        uplink = Uplink(sockets.connect(DEALER, where, live.most_bytes), live, timeout, patience, say_line, stop)
        answered = lost = 0
        for each in stream(choice, uplink, paced or shots(source), config.seed, again=paced is None, stop=stop):
            answered, lost = answered + (each.answer is not None), lost + (each.answer is None)
            show_answer(live, each, as_json)
            if watch is not None:
                watch.frame(each, answered, lost, 0 if paced is None else paced.dropped)
        dropped = 0 if paced is None else paced.dropped
        say_line(f"{answered} frames answered, {lost} lost or refused, {dropped} dropped for newer ones")


def channel(
    listen: Listen = AIR,
    connect: Annotated[str, typer.Option(help="HOST:PORT of the server.")] = SERVER,
    ears: Annotated[str | None, typer.Option(help="HOST:PORT at which atm listen hears it; default: none.")] = None,
    channel: Channel = "awgn:10",
    schedule: Annotated[
        str | None, typer.Option(help="YAML file of channels by the frame that they begin with, in place of --channel.")
    ] = None,
    bandwidth: Annotated[float | None, typer.Option(help="Symbols a second; default: no limit.")] = None,
    delay: Annotated[float, typer.Option(help="Milliseconds one way.")] = 0.0,
    key: Key = None,
    insecure: Insecure = False,
    seed: Seed = 0,
) -> None:
    """Stand between devices and a server as the air does: noise, fading, bursts, bandwidth and delay."""
    with loading():
        from audit.live.protocol import MOST_BYTES
        from audit.live.relay import Air, Relay, schedule_of
        from audit.live.showing import say_line, until_asked
        from audit.live.sockets import DEALER, PUB, ROUTER, Address, key_for, network

    here, there, heard = Address.parse(listen), Address.parse(connect), None if ears is None else Address.parse(ears)
    shared = key_for(key, insecure, [here, there, *([heard] if heard else [])])
    air = Air(schedule_of(channel, schedule), seed, bandwidth, delay / 1000)
    with network(shared) as sockets, until_asked() as stop:
        listeners = None if heard is None else sockets.bind(PUB, heard, MOST_BYTES, waiting=1000)
        front, back = sockets.bind(ROUTER, here, MOST_BYTES), sockets.connect(DEALER, there, MOST_BYTES)
        relay = Relay(air, front, back, listeners)
        say_line(f"on the air at {here}")
        relay.run(stop)
        say_line(f"{relay.carried} frames carried, {relay.refused} messages refused")


@of_system(before="images")
def listen(
    context: typer.Context,
    experiment: Experiment = None,
    connect: Annotated[str, typer.Option(help="HOST:PORT of atm channel --ears.")] = EARS,
    attack: Annotated[str, typer.Option(help="Attack, fitted before the first frame.")] = "ridge",
    threat: Threat = "eavesdropper",
    originals: Annotated[
        bool, typer.Option("--originals", help="She may see the pictures of --images and --data, and scores hers.")
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Few steps for an attack with a loop.")] = False,
    budget: Annotated[float, typer.Option(help="Seconds that fitting may take, at most, where it has a loop.")] = 120.0,
    stop_after: Annotated[int | None, typer.Option(help="Frames, then end; default: never.")] = None,
    out_folder: Annotated[Path | None, typer.Option("--out", help="Folder for her pictures, a PNG for each.")] = None,
    publish: Annotated[str | None, typer.Option(help="HOST:PORT at which atm device --page shows them.")] = None,
    key: Key = None,
    insecure: Insecure = False,
    policy: Policies = None,
    images: Images = 100,
    auxiliary: Auxiliary = 4000,
    as_json: Json = False,
) -> None:
    """Listen at the air, rebuild every frame with a fitted attack, and show what comes out."""
    with loading():
        from atm.errors import AtmError
        from audit.live.ear import fitted
        from audit.live.listening import Pictures, listen_to
        from audit.live.showing import say_line, show_rebuilt, until_asked
        from audit.live.sockets import Address, key_for, network
        from audit.live.system import LiveConfig

    where, told = Address.parse(connect), None if publish is None else Address.parse(publish)
    shared = key_for(key, insecure, [where, *([told] if told else [])])
    if not budget > 0 or (stop_after is not None and stop_after < 1):
        raise AtmError("--budget is a number of seconds above 0, --stop-after a number of frames from 1")
    config = configured(context, LiveConfig, experiment)
    folder = None if out_folder is None else Pictures(out_folder)
    with Progress() as say:
        ears_of = fitted(config, attack, quick=quick, budget=budget, originals=originals, say=say)
    with network(shared) as sockets, until_asked() as stop:
        say_line(f"listening at {where}")
        for rebuilt in listen_to(ears_of, sockets, where, told, stop, stop_after):
            if folder is not None:
                folder.add(rebuilt)
            show_rebuilt(rebuilt, as_json)


@of_system("auxiliary_data", "group_by", "label_by", "threat", before="images")
def profile(
    context: typer.Context,
    experiment: Experiment = None,
    frames: Annotated[
        str | None, typer.Option(help="camera, camera:1, a picture, folder or tar; default: --images of --data.")
    ] = None,
    passes: Annotated[int, typer.Option(min=1, help="How often the pictures are run.")] = 1,
    warmup: Annotated[int, typer.Option(min=0, help="Frames at the beginning that do not count.")] = 10,
    threads: Annotated[int, typer.Option(help="Threads, each pinned to a processor where the system can.")] = 1,
    policy: Policy = "moderate",
    images: Images = 100,
    auxiliary: Auxiliary = 4000,
    as_json: Json = False,
) -> None:
    """Measure the latency of every stage of a frame on this machine, memory, and energy where it is counted."""
    with loading():
        from atm.errors import AtmError
        from audit.live.profiling import profile as run_profile
        from audit.live.showing import show_profile
        from audit.live.sources import shots, source_of
        from audit.live.system import LiveConfig, resolve

    config = configured(context, LiveConfig, experiment, policies=(policy,))
    live = resolve(config, sends=True)
    if len(live.modes) > 1:
        raise AtmError("atm profile measures one policy at a time; give one --policy")
    source = source_of(frames, config, live.link.signal, passes)
    show_profile(run_profile(live, shots(source), warmup, threads), as_json)


def key(
    out_file: Annotated[Path, typer.Option("--out", help="File to write, for its owner alone.")] = Path("link.key"),
) -> None:
    """Write a new key, which device, server, channel and listener share."""
    from audit.live.keys import write

    write(out_file)
    out.print(escape(printable(f"wrote {out_file}")), soft_wrap=True)
