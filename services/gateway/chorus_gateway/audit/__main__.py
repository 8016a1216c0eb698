"""`python -m chorus_gateway.audit`: verifies the log in a database, without a gateway."""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from chorus_gateway.audit import AuditLog, Head, Verdict
from chorus_gateway.config import load_database_url
from chorus_gateway.db import connect
from chorus_gateway.errors import StartError, Unavailable


def main(arguments: Sequence[str] | None = None) -> int:
    """0 for a good log, 1 for a broken one, 2 where it could not be read."""
    parser = argparse.ArgumentParser(prog="chorus_gateway.audit", description=__doc__)
    parser.add_argument("--database", help="SQLAlchemy URL; CHORUS_GATEWAY_DATABASE_URL by default")
    parser.add_argument("--head", type=_head, help="NUMBER:HASH of an entry that was there before")
    options = parser.parse_args(arguments)
    try:
        verdict = asyncio.run(_verify(options.database or load_database_url(), options.head))
    except (StartError, Unavailable) as error:
        sys.stderr.write(f"chorus_gateway.audit: {error}\n")
        return 2
    if not verdict.ok:
        sys.stdout.write(f"broken at entry {verdict.seq}: {verdict.reason}; {verdict.entries} before it are good\n")
        return 1
    sys.stdout.write(f"{verdict.entries} entries are good; head {verdict.head.seq}:{verdict.head.hash}\n")
    return 0


async def _verify(url: str, known: Head | None) -> Verdict:
    database = connect(url)
    try:
        return await AuditLog(database).verify(known)
    finally:
        await database.close()


def _head(text: str) -> Head:
    seq, _, digest = text.partition(":")
    if not seq.isdecimal() or len(digest) != 64:
        raise argparse.ArgumentTypeError("it must be NUMBER:HASH, as this program prints it")
    return Head(int(seq), digest)


if __name__ == "__main__":
    sys.exit(main())
