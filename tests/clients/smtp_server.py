"""A mail server that writes down what it is handed, one line of JSON a letter.

Says `ready` once it listens.
"""

import argparse
import asyncio
import email
import email.policy
import json
import ssl

from aiosmtpd.smtp import SMTP, AuthResult

options = argparse.ArgumentParser()
options.add_argument("port", type=int)
options.add_argument("--tls", choices=["none", "starttls", "implicit"], default="none")
options.add_argument("--cert")
options.add_argument("--key")
options.add_argument("--login", nargs=2, metavar=("USER", "PASSWORD"), help="demand it")
options.add_argument("--replies", default="", help="to the recipients that come first, such as 451,250,550")
options.add_argument("--hang", action="store_true", help="never answer a letter")
options = options.parse_args()

replies = [int(reply) for reply in options.replies.split(",") if reply]


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, _):
        reply = replies.pop(0) if replies else 250
        if reply != 250:
            return f"{reply} not this time"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if options.hang:
            await asyncio.sleep(3600)
        letter = email.message_from_bytes(envelope.content, policy=email.policy.default)
        told = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "headers": [name.lower() for name in letter.keys()],
            "id": letter["message-id"],
            "sender": letter["from"],
            "subject": letter["subject"],
            "text": letter.get_content(),
            "is_tls": server.transport.get_extra_info("ssl_object") is not None,
            "is_signed_in": bool(session.authenticated),
        }
        print(json.dumps(told), flush=True)
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    given = [data.login.decode(), data.password.decode()]
    return AuthResult(success=given == options.login, handled=False)


def protocol():
    return SMTP(
        Handler(),
        hostname="mail.example.com",
        tls_context=context if options.tls == "starttls" else None,
        require_starttls=options.tls == "starttls",
        auth_required=options.login is not None,
        auth_require_tls=options.tls == "starttls",
        authenticator=authenticate if options.login else None,
    )


async def serve():
    over = context if options.tls == "implicit" else None
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", options.port, ssl=over)
    print("ready", flush=True)
    await server.serve_forever()


context = None
if options.tls != "none":
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(options.cert, options.key)
asyncio.run(serve())
