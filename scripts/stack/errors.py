class StackError(Exception):
    """Something that the person who started the stack has to change: one sentence, no traceback."""
