"""What a refusal looks like, whichever SDK reports it."""


class Refused(Exception):
    """The gateway's error as the SDK shows it to a program."""

    def __init__(self, code, status, message, request_id):
        super().__init__(f"{status} {code}: {message} ({request_id})")
        self.code = code
        self.status = status
        self.message = message
        self.request_id = request_id
