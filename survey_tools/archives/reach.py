"""Whether any archive can be reached from this machine, told in a second or two."""

import queue
import socket
import threading
import time
from urllib.parse import urlsplit

from survey_tools.archives.proxies import place_of, proxy_of

LIMIT = 1.2  # [s] after which a host counts as one that cannot be reached


def unreachable(urls: list[str]) -> str:
    """Why none of the hosts of some URLs can be reached; "" where one can be.

    Where a proxy is set, it is the proxy that must be reached.
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
    """Put "" into the queue where a host takes a connection, else why it does not."""
    try:
        socket.create_connection(place, timeout=LIMIT).close()
        told.put("")
    except socket.gaierror:
        told.put(f"the name of {words} is unknown" if "proxy" not in words else f"{words} has an unknown name")
    except OSError as error:
        told.put(f"{words} takes no connection ({error.strerror or type(error).__name__})")
