"""What mail servers do to us; no caller ever sees it.

Exception
└── MailError
    ├── MailPostponedError      it can be tried again
    └── MailRefusedError        it will never be taken
"""


class MailError(Exception):
    """A mail was not handed over."""


class MailPostponedError(MailError):
    """The server is away, busy or not configured: the mail waits."""


class MailRefusedError(MailError):
    """The server says that this mail cannot be delivered (a permanent answer of RFC 5321 section 4.2.1)."""
