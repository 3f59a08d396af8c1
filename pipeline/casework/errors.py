"""What casework answers when it will not do something, and whether asking again could help."""


class RefusedError(ValueError):
    """The case does not allow this now: it was decided, frozen or released already."""


class ForbiddenError(RefusedError):
    """This person may not do this, now or later, with the role they have."""


class MissingError(RefusedError):
    """There is no such alert, account or user."""
