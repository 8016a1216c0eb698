"""The skills of the demo adapters: examples, and graders that need nothing but the standard library."""

from tasks import extract, mood, reverse, sort, spell, translate, upper
from tasks.task import Example, Split, Task, split_of

TASKS = {module.TASK.name: module.TASK for module in (spell, mood, upper, reverse, sort, translate, extract)}

__all__ = ["TASKS", "Example", "Split", "Task", "split_of"]
