"""Stand in front of the API server on the loopback of the root namespace, without a route or a link there.

Run as a program with an inherited listening socket: sockets belong to the namespace they were made in, so the process
keeps listening outside after it has moved inside the control plane's namespace, where it dials.

    forwarder.py LISTENING-FD NAMESPACE-FILE HOST PORT
"""

import asyncio
import ctypes
import os
import socket
import sys

_CLONE_NEWNET = 0x40000000


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass
    finally:
        # Half-closing would keep a dead watch alive on the other side; a TLS stream never needs it.
        writer.close()


async def _serve(listener: socket.socket, host: str, port: int) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pump(reader, back), _pump(there, writer))

    server = await asyncio.start_server(accept, sock=listener)
    await server.serve_forever()


def main(argv: list[str]) -> None:
    """Move into the namespace and forward until ended."""
    listener = socket.socket(fileno=int(argv[0]))
    namespace = os.open(argv[1], os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns", argv[1])
    asyncio.run(_serve(listener, argv[2], int(argv[3])))


if __name__ == "__main__":
    main(sys.argv[1:])
