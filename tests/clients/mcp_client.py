"""An MCP client that knows where Keyward is and its agent key, and nothing of the service behind."""

import asyncio
import json
import os

import httpx2
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client


async def main() -> dict:
    headers = {"Authorization": f"Bearer {os.environ['KEYWARD_TEST_KEY']}"}
    progress = []

    async def told(done, total, message):
        progress.append(done)

    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        async with streamable_http_client(os.environ["KEYWARD_TEST_URL"], http_client=http) as streams:
            async with ClientSession(streams[0], streams[1]) as session:
                started = await session.initialize()
                tools = await session.list_tools()
                added = await session.call_tool("add", {"a": 2, "b": 40})
                counted = await session.call_tool("count", {"to": 3}, progress_callback=told)
    info = getattr(started, "server_info", None) or started.serverInfo
    return {
        "server": info.name,
        "tools": sorted(tool.name for tool in tools.tools),
        "added": added.content[0].text,
        "counted": counted.content[0].text,
        "progress": progress,
    }


print(json.dumps(asyncio.run(main())))
