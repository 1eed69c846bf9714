"""Names of files and folders out of names that anybody may have given: safe, bounded, and no two the same."""

import re
import unicodedata
from hashlib import blake2b

from otel_bridge.batch import DEFAULT_TENANT

MOST_OF_RUN, MOST_OF_AGENT = 64, 40  # characters
MOST_BYTES = 160  # a file system takes 255, with what stands before and after
HASHED = re.compile(r"-[0-9a-f]{16}$")


def safe(name: str, most: int) -> str:
    """Letters, digits, `-`, `_` and `.` of a name, which begins and ends with a letter or digit; empty if none is left.

    So it never names another folder, and is never hidden or taken for an option.
    """
    kept = "".join(c if c.isalnum() or c in "-_." else "_" for c in unicodedata.normalize("NFC", name[: 4 * most]))
    short = re.sub("__+", "_", kept).strip("-_.")[:most]
    return short.encode()[:MOST_BYTES].decode(errors="ignore").strip("-_.")


def folders(tenant: str, run_id: str) -> list[str]:
    """What the folder of a run may be called: as the run if that is safe, else with a hash of tenant and run.

    The second name is for where the first is taken: file systems may not tell `Run` from `run`.
    """
    short = safe(run_id, MOST_OF_RUN)
    of = blake2b(f"{tenant}\n{run_id}".encode(errors="replace"), digest_size=8).hexdigest()
    hashed = f"{short or 'run'}-{of}"
    is_its_own = short == run_id and tenant == DEFAULT_TENANT and not HASHED.search(short)
    return [short, hashed] if is_its_own else [hashed]


def call_file(number: int, agent: str, suffix: str) -> str:
    """`call_001_planner.yaml`"""
    return f"call_{number:03d}_{safe(agent, MOST_OF_AGENT) or 'call'}.{suffix}"
