"""Which trace, and which observation of it, is meant by what somebody typed."""

import re
from collections.abc import Collection

from otel_bridge.batch import DEFAULT_TENANT
from otel_bridge.errors import BridgeError, UsageError
from otel_bridge.mistakes import hint
from otel_bridge.query.names import storable
from otel_bridge.store.reader import Reader
from otel_bridge.store.statements import statements

SQL = statements("otel_bridge.query", "find.sql")

HEX = re.compile(r"[0-9a-f]{1,64}")


class NotFoundError(BridgeError):
    """The store holds nothing under this id."""


def tenants_in(reader: Reader) -> list[str]:
    """Those of whom the store holds a trace."""
    return [row["tenant"] for row in reader.rows(SQL["tenants"], {})]


def check_tenant(reader: Reader, tenant: str | None, configured: Collection[str]) -> None:
    """Where nothing was found of a tenant: whether there is one of that name.

    Raises:
        UsageError: none is configured, and the store holds nothing of it.
    """
    known = sorted({*(configured or (DEFAULT_TENANT,)), *tenants_in(reader)})
    if tenant is not None and tenant not in known:
        raise UsageError(f"there is no tenant {tenant[:50]!r}" + hint(tenant, known))


def find_trace(reader: Reader, trace_id: str, tenant: str | None = None, *, to_read: bool = True) -> tuple[str, str]:
    """The whole (trace id, tenant) for an id, the beginning of one, or `last`.

    to_read: of several tenants that have it, the first will do; not where something is to be written to it.

    Raises:
        NotFoundError: there is none.
        UsageError: there are several that begin so, or several tenants have it and something is to be written to it.
    """
    if trace_id == "last":
        row = reader.row(SQL["last"], {"tenant": tenant})
        if row is None:
            if tenant is not None:
                whose = ", ".join(tenants_in(reader)) or "nobody"
                raise NotFoundError(
                    f"the store holds no trace of the tenant {tenant[:50]!r} yet, it holds those of {whose}"
                )
            raise NotFoundError("the store holds no trace yet: send one, or try `otel-bridge demo`")
        return row["trace_id"], row["tenant"]
    beginning = trace_id.lower()
    rows = reader.rows(SQL["trace"], {"id": beginning, "tenant": tenant}) if HEX.fullmatch(beginning) else []
    if not rows:
        of = "" if tenant is None else f" of the tenant {tenant[:50]!r}"
        whose = "" if tenant is None else f", of {', '.join(tenants_in(reader)) or 'nobody'}"
        raise NotFoundError(
            f"the store holds no trace {trace_id!r}{of}: `otel-bridge traces` lists those it holds{whose}"
        )
    if len(rows) > 1:
        raise UsageError(f"several traces begin with {trace_id!r}: give more of the id")
    [row] = rows
    if row["of_tenants"] > 1 and not to_read:
        raise UsageError(f"several tenants have a trace {trace_id}: say by `tenant` which of {row['tenants']} is meant")
    return row["trace_id"], row["tenant"]


def other_tenants(reader: Reader, trace_id: str, tenant: str) -> list[str]:
    """Who else has a trace of this id."""
    return [row["tenant"] for row in reader.rows(SQL["others"], {"trace_id": trace_id, "tenant": tenant})]


def left_out(reader: Reader, trace_id: str, tenant: str) -> str | None:
    """What was decided for a trace that is not kept, and why, as `sampled_out:rate`; None for any other."""
    row = reader.row(SQL["omitted"], {"trace_id": trace_id, "tenant": tenant})
    return None if row is None else str(row["omitted"])


def find_observation(reader: Reader, trace_id: str, tenant: str, said: str) -> str:
    """The whole id of an observation of one trace, for its id, the beginning of it, or its name or a part of that.

    What is meant by its whole id is not meant by another's name, nor by a part of a name what has the whole name.

    Raises:
        NotFoundError: there is none.
        UsageError: there are several.
    """
    rows = reader.rows(SQL["observation"], {"trace_id": trace_id, "tenant": tenant, "said": storable(said)})
    if not rows:
        raise NotFoundError(f"trace {trace_id} has no observation {said!r}: `otel-bridge trace` shows those it has")
    closest: list[str] = [row["id"] for row in rows if row["closeness"] == rows[0]["closeness"]]
    if len(closest) > 1:
        raise UsageError(f"several observations answer to {said!r}: give the id of one, as {', '.join(closest)}")
    return closest[0]
