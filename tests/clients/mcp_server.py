"""An MCP server over streamable HTTP that wants its own credential in a header of its own.

Takes a port. Says `ready` once it listens.
"""

import asyncio
import sys

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context

server = MCPServer("weather")


@server.tool()
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@server.tool()
async def count(to: int, ctx: Context) -> str:
    """Counts, and tells how far it has come."""
    for number in range(to):
        await ctx.report_progress(number + 1, to)
        await asyncio.sleep(0)
    return f"counted to {to}"


def guarded(app):
    """Lets nobody in without the credential, and no agent key."""

    async def answer(scope, receive, send):
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            good = headers.get(b"x-service-token") == b"test-value-of-the-service"
            if not good or b"kw_" in b"".join(headers.values()):
                await send({"type": "http.response.start", "status": 403, "headers": []})
                await send({"type": "http.response.body", "body": b"not with these headers"})
                return
        await app(scope, receive, send)

    return answer


class Told(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print("ready", flush=True)


port = int(sys.argv[1])
app = guarded(server.streamable_http_app(host="127.0.0.1"))
Told(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning")).run()
