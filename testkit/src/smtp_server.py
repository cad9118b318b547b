"""A mail server for tests: keeps what it accepts as files, and refuses what it is told to refuse.

usage: smtp_server.py FOLDER PORT [--tls CERTIFICATE KEY | --starttls CERTIFICATE KEY] [--login USER PASSWORD]

A mail is FOLDER/mails/NUMBER.eml, with its envelope beside it in NUMBER.json. FOLDER/behavior.json is read at each
command: {"mail": ANSWER, "rcpt": {ADDRESS: ANSWER}, "data": ANSWER, "stall": true}. A stalled server has a mail and
does not say so.
"""

import argparse
import asyncio
import json
import os
import pathlib
import ssl

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

STEP = 0.02


class Handler:
    def __init__(self, folder):
        self.folder = folder
        self.mails = folder / "mails"
        self.mails.mkdir(exist_ok=True)

    def behavior(self):
        try:
            return json.loads((self.folder / "behavior.json").read_text())
        except FileNotFoundError:
            return {}

    async def handle_MAIL(self, server, session, envelope, address, options):
        answer = self.behavior().get("mail")
        if answer:
            return answer
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):
        answer = self.behavior().get("rcpt", {}).get(address)
        if answer:
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        answer = self.behavior().get("data")
        if answer:
            return answer
        number = f"{len(list(self.mails.glob('*.eml'))):06}"
        (self.mails / f"{number}.json").write_text(
            json.dumps(
                {
                    "from": envelope.mail_from,
                    "to": envelope.rcpt_tos,
                    "tls": server.transport.get_extra_info("sslcontext") is not None,
                    "login": session.auth_data.login.decode() if session.auth_data else None,
                }
            )
        )
        unfinished = self.mails / f".{number}"
        unfinished.write_bytes(envelope.original_content)
        os.rename(unfinished, self.mails / f"{number}.eml")
        while self.behavior().get("stall"):
            await asyncio.sleep(STEP)
        return "250 taken"


async def serve():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--tls", nargs=2)
    parser.add_argument("--starttls", nargs=2)
    parser.add_argument("--login", nargs=2)
    arguments = parser.parse_args()

    context = None
    if arguments.tls or arguments.starttls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*(arguments.tls or arguments.starttls))

    def authenticate(server, session, envelope, mechanism, data):
        user, password = arguments.login
        good = (
            isinstance(data, LoginPassword)
            and data.login == user.encode()
            and data.password == password.encode()
        )
        return AuthResult(success=good, handled=False, auth_data=data if good else None)

    handler = Handler(arguments.folder)

    def protocol():
        return SMTP(
            handler,
            enable_SMTPUTF8=True,
            hostname="mail.test",
            tls_context=context if arguments.starttls else None,
            require_starttls=bool(arguments.starttls),
            auth_required=bool(arguments.login),
            auth_require_tls=bool(arguments.starttls),
            authenticator=authenticate if arguments.login else None,
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        protocol, "127.0.0.1", arguments.port, ssl=context if arguments.tls else None
    )
    await server.serve_forever()


asyncio.run(serve())
