"""Whether a host is this machine alone: one rule for servers, what they are asked, warnings; passwords in addresses."""

from __future__ import annotations

import ipaddress
import re

# An address that two readers could take for two hosts (a user, a backslash) matches nothing.
_URL = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[^/?#@\\:\s\[\]]+)(:[0-9]+)?(/[^\\@]*)?")
_PASSWORD = re.compile(r"(?<=//)([^/?#@:\s]*):[^@\s]*@")


def is_local(host: str) -> bool:
    """Whether a host name is this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_local_url(url: str) -> bool:
    """Whether an http(s) address leads to this machine alone, whoever reads it."""
    found = _URL.fullmatch(url)
    return found is not None and is_local(found[1])


def without_passwords(text: str) -> str:
    """A text with `***` for the password of each address in it, as `scheme://user:password@host` has one."""
    return _PASSWORD.sub(r"\1:***@", text)
