"""A service of a few lines, for tests of the stack: it logs in to its own database and says so on /readyz."""

from __future__ import annotations

import asyncio
import os
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import asyncpg

from libs.store.roles import Role, database_of, password_file

URL = os.environ["MAESTRO_POSTGRES_URL"]
SECRETS = Path(os.environ["MAESTRO_POSTGRES_SECRETS_DIR"])
LOGIN = Role.API.of(database_of(URL))


async def _who_am_i(secret: str) -> str:
    connection = await asyncpg.connect(URL, user=LOGIN, password=secret)
    try:
        return str(await connection.fetchval("SELECT current_user || '@' || current_database()"))
    finally:
        await connection.close()


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(asyncio.run(_who_am_i(password_file(SECRETS, LOGIN).read_text())).encode())


if __name__ == "__main__":
    HTTPServer((os.environ["MAESTRO_HOST"], int(os.environ["MAESTRO_PORT"])), _Answer).serve_forever()
