"""`denken serve --lan`: this machine's address in its network, a key for the phone, and a QR code that holds both.

The key stands behind the `#` of the address, which browsers send to nobody; the page takes it from there. It is shown
when it is made and never again. Not covered: announcing the server's name in the network, and getting a certificate.
"""

from __future__ import annotations

import io
import socket

import segno

from denken.errors import ConfigError
from denken.serve import keys
from denken.serve.store import Store

PHONE = "phone"
# Light on dark, whatever the terminal's own colours are: not every phone reads a code the other way round.
LIGHT_ON_DARK, AS_BEFORE = "\x1b[97;40m", "\x1b[0m"
# Addresses that belong to nobody (RFC 5737, RFC 3849): asked which way they lie, a machine names its own.
ELSEWHERE = ((socket.AF_INET, "203.0.113.1"), (socket.AF_INET6, "2001:db8::1"))


def address() -> str:
    """This machine's own address in its network. Raises ConfigError where it is in none."""
    for family, elsewhere in ELSEWHERE:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((elsewhere, 9))  # of a datagram socket: nothing is sent
            except OSError:
                continue
            return str(probe.getsockname()[0])
    raise ConfigError("This machine is in no network that a phone could share; connect it, or leave --lan out.")


def phone_key(store: Store) -> str | None:
    """The secret of a new key called "phone"; None where there is one in use already."""
    with store.write() as connection:
        if any(row["name"] == PHONE and row["revoked"] is None for row in keys.listing(connection)):
            return None
        return keys.create(connection, PHONE)


def invitation(url: str, secret: str | None, colours: bool) -> str:
    """What is printed: the address, a QR code of it, and what it opens. url: without a path. colours: on a terminal."""
    link = f"{url}/" if secret is None else f"{url}/#key={secret}"
    if secret is None:
        says = (
            f'A key "{PHONE}" is in use and was shown when it was made; a phone that has it needs the address alone.\n'
            f"For another phone: denken keys revoke {PHONE}, then start again, or denken keys create NAME."
        )
    else:
        says = f'It brings the key "{PHONE}" along, which is shown this once.'
    if url.startswith("http:"):
        says += "\nOver http anybody in this network can read along, and the page cannot be installed; see docs/web.md."
    return f"On a phone in this network, open or scan: {link}\n{_picture(link, colours)}{says}"


def _picture(link: str, colours: bool) -> str:
    shown = io.StringIO()
    segno.make(link, micro=False).terminal(shown, border=2, compact=True)
    lines = shown.getvalue().splitlines()
    return "".join(f"{LIGHT_ON_DARK}{line}{AS_BEFORE}\n" if colours else f"{line}\n" for line in lines)
