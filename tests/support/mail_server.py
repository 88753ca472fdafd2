"""mail-devel without its web pages, and with recipients that it refuses.

The web pages, which nothing here uses, need packages built for one version of Python.
"""

import runpy
import sys
import types

pages = types.ModuleType("mail_devel.http")
pages.Frontend = None
sys.modules["mail_devel.http"] = pages

from mail_devel.smtp import MemoryHandler  # noqa: E402 (after what stands in for the pages)


async def handle_RCPT(self, server, session, envelope, address, options):
    """What aiosmtpd asks of each recipient."""
    if address.startswith("nobody@"):
        return "550 5.1.1 nobody of that name is here"
    if address.startswith("full@"):
        return "452 4.2.2 the mailbox is full"
    envelope.rcpt_tos.append(address)
    return "250 2.1.5 ok"


MemoryHandler.handle_RCPT = handle_RCPT
runpy.run_module("mail_devel", run_name="__main__")
