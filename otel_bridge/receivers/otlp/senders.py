"""Who sends, and how much they may: keys and certificates → tenant, failures and quotas → come again later.

A request is asked who it is from before anything of its body is read. What is wrong with a key is told to nobody. A key
that is right is taken whatever else comes from its address: keys can not be guessed, and an agent with an old one must
not silence those beside it.
"""

import base64
import binascii
import math
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import unquote

from otel_bridge.component import Host
from otel_bridge.errors import BridgeError, RetryableError
from otel_bridge.receivers.otlp.guard import sharing_address
from otel_bridge.tenants import DEFAULT_TENANT, Tenants

FAILURES_PER_S = 5  # from one address; each above it is answered without being looked at longer
MAX_ADDRESSES = 4096
LOOPBACK = "loopback"


class UnauthenticatedError(BridgeError):
    """Nobody that is known; the message is the same whatever was wrong."""


class TooManyFailuresError(RetryableError):
    """The address has shown too many keys that are nobody's."""


class RateError(RetryableError):
    """The sender has used up its quota for now."""


@dataclass(slots=True, frozen=True)
class Shown:
    """What a request shows of its sender.

    authorization, api_key: the values of these headers, one for each time that they are there.
    certificate: the names of the client certificate that TLS has verified.
    """

    authorization: Sequence[bytes] = ()
    api_key: Sequence[bytes] = ()
    certificate: Sequence[str] = ()


@dataclass(slots=True, frozen=True)
class Sender:
    """Who a request is from.

    peer: the address it came from.
    names: the tenants that it names in a header, where the receiver looks for such; None where there is no header.
    """

    tenant: str
    peer: str = ""
    names: str | None = None


class Bucket:
    """So much each second, and one second's worth at once. What is taken is taken whole: the next then waits longer."""

    def __init__(self, per_s: float, now_s: float) -> None:
        self.per_s = per_s
        self._level = per_s
        self._at_s = now_s

    def wait_s(self, now_s: float) -> float:
        """How long until something may be taken; 0 if it may be now."""
        self._level = min(self.per_s, self._level + (now_s - self._at_s) * self.per_s)
        self._at_s = now_s
        return 0.0 if self._level > 0 else max(0.001, -self._level / self.per_s)

    def take(self, amount: float) -> None:
        """Take it, also where that is more than there is."""
        self._level -= amount


class Senders:
    """Knows who may come in by a receiver, and counts what they bring.

    max_bytes_per_s: from one address of another machine.
    """

    def __init__(self, host: Host, max_bytes_per_s: int | None = None) -> None:
        self._tenants = host.tenants
        self._counters = host.counters
        self._max_bytes_per_s = max_bytes_per_s
        self._failures: OrderedDict[str, Bucket] = OrderedDict()
        self._addresses: OrderedDict[str, Bucket] = OrderedDict()
        self._quotas: dict[tuple[str, str], Bucket] = {}

    @property
    def tenants(self) -> Tenants:
        """Those of the newest configuration."""
        return self._tenants

    def identify(self, shown: Shown, peer: str) -> str:
        """The tenant that a request is from; `default` where nobody has to say.

        Raises:
            UnauthenticatedError: it shows nothing, or something that is no tenant's.
            TooManyFailuresError: the same, too often from one address.
        """
        if not self._tenants.required:
            return DEFAULT_TENANT
        if tenant := self._tenant_of(shown):
            return tenant
        now_s = time.monotonic()
        failures = _bucket(self._failures, sharing_address(address_of(peer)) or LOOPBACK, FAILURES_PER_S, now_s)
        wait_s = failures.wait_s(now_s)
        if wait_s:
            raise TooManyFailuresError("too many requests without a valid key from this address", wait_s)
        failures.take(1)
        raise UnauthenticatedError("a valid key or client certificate is required")

    def _tenant_of(self, shown: Shown) -> str | None:
        """Whose the keys are, all of them; where none is shown, whose certificate it is."""
        if not shown.authorization and not shown.api_key:
            return self._tenants.of_certificate(shown.certificate)
        found = {self._of_authorization(value) for value in shown.authorization}
        found |= {self._tenants.of_key(value.strip()) for value in shown.api_key}
        return found.pop() if len(found) == 1 else None

    def _of_authorization(self, value: bytes) -> str | None:
        scheme, _, said = value.strip().partition(b" ")
        said = said.strip()
        if scheme.lower() == b"bearer":
            return self._tenants.of_key(said)
        if scheme.lower() != b"basic":
            return None
        try:
            pair = base64.b64decode(said, validate=True)
        except (binascii.Error, ValueError):
            return None
        user, _, password = pair.partition(b":")
        whole, of_password = self._tenants.of_key(pair), self._tenants.of_key(password)
        return whole or (of_password if of_password is not None and user == of_password.encode() else None)

    def check(self, sender: Sender) -> None:
        """Before anything is read: whether the sender has some of its quota left.

        Raises:
            RateError: it has not.
        """
        now_s = time.monotonic()
        for bucket in (*self._quota(sender, "bytes", now_s), *self._quota(sender, "items", now_s)):
            self._wait(sender, bucket, now_s)

    def take(self, sender: Sender, amount: int, kind: str) -> None:
        """Take `bytes` or `items` from the sender's quota.

        Raises:
            RateError: nothing of it was left; others have come in between.
        """
        now_s = time.monotonic()
        buckets = self._quota(sender, kind, now_s)
        for bucket in buckets:
            self._wait(sender, bucket, now_s)
        for bucket in buckets:
            bucket.take(amount)

    def give_back(self, sender: Sender, amount: int, kind: str) -> None:
        """What was taken, but did not come in."""
        for bucket in self._quota(sender, kind, time.monotonic()):
            bucket.take(-amount)

    def _wait(self, sender: Sender, bucket: Bucket, now_s: float) -> None:
        if wait_s := bucket.wait_s(now_s):
            self._counters.add("rate_limited", tenant=sender.tenant)
            raise RateError(f"more than the quota of {sender.tenant}, send again later", wait_s)

    def _quota(self, sender: Sender, kind: str, now_s: float) -> list[Bucket]:
        """The buckets that so many of it are taken from: the tenant's, and the address's."""
        of = self._tenants.get(sender.tenant)
        per_s = of.max_bytes_per_s if kind == "bytes" else of.max_items_per_s
        buckets = []
        if per_s is not None:
            bucket = self._quotas.get((sender.tenant, kind))
            if bucket is None or bucket.per_s != per_s:
                bucket = self._quotas[sender.tenant, kind] = Bucket(per_s, now_s)
            buckets.append(bucket)
        if self._max_bytes_per_s and kind == "bytes" and (address := sharing_address(address_of(sender.peer))):
            buckets.append(_bucket(self._addresses, address, self._max_bytes_per_s, now_s))
        return buckets


def address_of(peer: str) -> str:
    """The address in what gRPC calls a peer, as `ipv4:192.0.2.1:50000` or `ipv6:%5B2001:db8::1%5D:50000`, or itself."""
    kind, _, rest = peer.partition(":")
    address = unquote(rest).rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else peer
    try:
        ip_address(address.partition("%")[0])
    except ValueError:
        return "127.0.0.1"  # no address of a network
    return address


def seconds(wait_s: float) -> int:
    """What `Retry-After` says: whole seconds, one at least."""
    return max(1, math.ceil(wait_s))


def _bucket(buckets: OrderedDict[str, Bucket], key: str, per_s: float, now_s: float) -> Bucket:
    """The bucket of an address; of many addresses those that were seen last are remembered."""
    if key not in buckets:
        buckets[key] = Bucket(per_s, now_s)
        if len(buckets) > MAX_ADDRESSES:
            buckets.popitem(last=False)
    buckets.move_to_end(key)
    return buckets[key]
