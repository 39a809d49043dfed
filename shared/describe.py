"""What went wrong, in words that hold nothing of what it went wrong on."""


def describe(error: Exception) -> str:
    """What failed and where, never what it failed on: messages of exceptions carry values."""
    trace = error.__traceback__
    where = "?"
    while trace is not None:
        code = trace.tb_frame.f_code
        if "/services/" in code.co_filename or "/shared/" in code.co_filename:
            where = "/".join(code.co_filename.split("/")[-2:]) + f":{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(error).__name__} at {where}"


def kind_of(error: BaseException) -> str:
    """The class of an error; the driver's own, where it came from the database (`DeadlockDetected`)."""
    return type(getattr(error, "orig", None) or error).__name__
