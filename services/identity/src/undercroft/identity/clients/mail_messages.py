"""How a text becomes a message (RFC 5322): plain text and HTML, headers that nobody can break out of."""

from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final
from uuid import UUID

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from undercroft.identity.domain.mails import MailText

_CONTROLS: Final = dict.fromkeys((*range(0x20), 0x7F), " ")


def build_message(
    text: MailText, *, mail_id: UUID, recipient: str, sender: str, brand: str, now: datetime
) -> EmailMessage:
    """Build the message. Its Message-ID is the mail's: whoever gets it twice can tell."""
    name, address = parseaddr(sender)
    message = EmailMessage(policy=SMTP)
    message["From"] = Address(display_name=_one_line(name), addr_spec=address)
    message["To"] = Address(addr_spec=recipient)
    message["Subject"] = _one_line(text.subject)
    message["Date"] = format_datetime(now)
    message["Message-ID"] = f"<{mail_id}@{address.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    message.set_content(_plain(text, brand))
    html = _environment().get_template("mail.html.jinja").render(text=text, brand=brand)
    message.add_alternative(html, subtype="html")
    return message


def _plain(text: MailText, brand: str) -> str:
    link = () if text.link is None else (f"{text.link_label}:\n{text.link}",)
    return "\n\n".join((text.greeting, *text.before, *link, *text.after, brand)) + "\n"


def _one_line(text: str) -> str:
    return text.translate(_CONTROLS)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(str(files("undercroft.identity").joinpath("templates")))),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
