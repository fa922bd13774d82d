"""Proxies, the environment variables that name them, and whether any archive can be reached."""

import os
import queue
import re
import socket
import threading
import time
from urllib.parse import urlsplit

import requests
import urllib3


def proxy_of(url: str) -> tuple[str, str]:
    """Return the environment variable that names the proxy for a URL, and the address of the proxy; "", "" without one.

    The rules are those of the requests library: a variable in small letters wins over the same in capitals, ALL_PROXY
    holds for what has no variable of its own, and NO_PROXY names the hosts that are asked without a proxy.
    """
    scheme = urlsplit(url).scheme
    found = requests.utils.get_environ_proxies(url)
    address = found.get(scheme) or found.get("all") or ""
    for name in (f"{scheme}_proxy", f"{scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY"):
        if address and os.environ.get(name) == address:
            return name, address
    return ("the system's settings", address) if address else ("", "")


def place_of(address: str) -> str:
    """Return host and port of a proxy, without the name and password that its address may contain."""
    place = urlsplit(address if "//" in address else f"//{address}")
    try:
        return f"{place.hostname or '?'}:{place.port}" if place.port else place.hostname or "?"
    except ValueError:
        return place.hostname or "?"


def trouble(url: str, error: Exception | str) -> str:
    """Return the problem with the proxy of a URL, in words that name its variable."""
    name, address = proxy_of(url)
    if isinstance(error, requests.exceptions.InvalidProxyURL):
        return f"{name} is {place_of(address)!r}, which is not the address of a proxy; give http://host:port"
    why = error if isinstance(error, str) else _why(error)
    return f"the proxy {place_of(address)}, which {name or 'the environment'} names, does not work: {why}"


def _why(error: Exception) -> str:
    """Return the reaction of a proxy, in words."""
    cause, seen = error, []
    while cause is not None and len(seen) < 8:
        seen.append(cause)
        inner = cause.args[0] if cause.args and isinstance(cause.args[0], Exception) else None
        original = getattr(cause, "original_error", None) or getattr(cause, "reason", None)
        cause = original if isinstance(original, Exception) else inner or cause.__cause__
    if any(isinstance(each, urllib3.exceptions.NameResolutionError) for each in seen):
        return "its name is unknown"
    if any(isinstance(each, urllib3.exceptions.NewConnectionError) for each in seen):
        return "it accepts no connection"
    if any(isinstance(each, urllib3.exceptions.ConnectTimeoutError | TimeoutError) for each in seen):
        return "it does not answer"
    said = re.search(r"Tunnel connection failed: (\d{3}[\w .-]{0,40})", " ".join(map(str, seen)))
    return f"it answers {said[1].strip()}" if said else type(seen[-1]).__name__


LIMIT = 1.2  # [s] after which a host counts as unreachable


def unreachable(urls: list[str]) -> str:
    """Return why none of the hosts of some URLs can be reached; "" if one of them can.

    If a proxy is set, the proxy is the host that must be reached.
    """
    places = {}
    for url in urls:
        name, address = proxy_of(url)
        place = urlsplit(url)
        port = place.port or (443 if place.scheme == "https" else 80)
        if address:
            host, _, given = place_of(address).rpartition(":")
            host, port = (host, int(given)) if host else (given, 443 if address.startswith("https") else 80)
            places[host, port] = f"the proxy {host}:{port}, which {name} names,"
        else:
            places[place.hostname, port] = str(place.hostname)
    told: queue.Queue[str] = queue.Queue()
    for place, words in places.items():
        threading.Thread(target=_try, args=(place, words, told), daemon=True).start()
    end, reasons = time.monotonic() + LIMIT, []
    while len(reasons) < len(places):
        try:
            reason = told.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            reasons.append("no host has answered")
            break
        if not reason:
            return ""
        reasons.append(reason)
    return reasons[0]


def _try(place: tuple[str, int], words: str, told: queue.Queue) -> None:
    """Put "" into the queue if a host accepts a connection, else the reason why it does not."""
    try:
        socket.create_connection(place, timeout=LIMIT).close()
        told.put("")
    except socket.gaierror:
        told.put(f"the name of {words} is unknown" if "proxy" not in words else f"{words} has an unknown name")
    except OSError as error:
        told.put(f"{words} accepts no connection ({error.strerror or type(error).__name__})")
