"""The loader: `python -m chorus_engine.adapters.loader <socket> <region> <its bytes> <niceness>`.

Socket and region are descriptors that the engine hands down.
"""

import os
import socket
import sys

import uvloop

from chorus_engine.adapters.loader.child import serve
from chorus_engine.adapters.region import Region

if __name__ == "__main__":
    connection, region, size, niceness = map(int, sys.argv[1:])
    os.nice(niceness)
    uvloop.run(serve(socket.socket(fileno=connection), Region(region, size)))
