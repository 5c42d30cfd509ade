"""The user's own Python, named `module:function` in the budget file.

Only what the user names is imported, and the current directory is looked in first, as `python -m` does.
"""

import importlib
import os
import sys
from collections.abc import Callable

from costopt.errors import UsageError


def is_reference(text: str) -> bool:
    """Whether a text has the form `package.module:function`."""
    module, colon, name = text.partition(":")
    return bool(colon) and name.isidentifier() and all(part.isidentifier() for part in module.split("."))


def function_named(reference: str) -> Callable[..., object]:
    """The function that `module:function` names.

    Raises UsageError when the text has another form, the module can't be imported, or it has no such function.
    """
    if not is_reference(reference):
        raise UsageError(f"'{reference}' names no function; write module:function, such as my_data:batches")
    module_name, _, name = reference.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as problem:
        where = f"in {os.getcwd()} or among what is installed"
        raise UsageError(f"{reference}: there is no module '{problem.name}' {where}") from problem
    except Exception as problem:  # third-party call: the user's module may raise anything
        raise UsageError(f"{reference}: importing it raised {type(problem).__name__}: {problem}") from problem
    function: object = vars(module).get(name)
    if not callable(function):
        known = sorted(key for key, value in vars(module).items() if callable(value) and not key.startswith("_"))
        raise UsageError(
            f"{reference}: {module.__file__} has no function '{name}'; it has {', '.join(known) or 'none'}"
        )
    return function
