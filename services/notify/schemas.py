"""What the doors of notify answer."""

from shared.http.answers import Answer, CaseNumber, Id, Moment, Next


class Message(Answer):
    """A notice in the in-app inbox, in the language that its reader asked for."""

    id: Id
    case: CaseNumber
    title: str
    body: str
    sent_at: Moment


class MessageList(Answer):
    """A page of the in-app inbox, the newest first."""

    messages: list[Message]
    next: Next
