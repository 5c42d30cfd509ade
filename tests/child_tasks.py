"""What a child is asked to do in the tests of `worker`: answer, crash, hang, and everything else that real ones do."""

import errno
import logging
import os
import signal
import sys
import time

from costopt.errors import CandidateError, DataError, NotApplicable
from costopt.worker import Answer, Request


def double(request: Request) -> Answer:
    return {"value": request["value"] * 2}


def remember(request: Request) -> Answer:
    seen = vars(sys.modules[__name__]).setdefault("SEEN", [])
    seen.append(request["value"])
    return {"seen": seen}


def print_a_lot(request: Request) -> Answer:
    for number in range(2000):
        print(f"library chatter {number}: {request}")
    os.write(1, b"raw chatter on descriptor 1\n")
    return {"value": "clean"}


def answer_at_length(request: Request) -> Answer:
    return {"value": "x" * int(request["length"])}


def threads_wait(request: Request) -> Answer:  # noqa: ARG001
    return {"policy": os.environ.get("OMP_WAIT_POLICY")}


def refuse(request: Request) -> Answer:
    raise CandidateError("export", f"no way with {request['value']}")


def find_nothing_to_do(request: Request) -> Answer:  # noqa: ARG001
    raise NotApplicable("nothing to do")


def blame_the_data(request: Request) -> Answer:  # noqa: ARG001
    raise DataError("target: 3 rows, inputs: 4")


def fill_the_disk(request: Request) -> Answer:  # noqa: ARG001
    raise OSError(errno.ENOSPC, "No space left on device")


def break_down(request: Request) -> Answer:  # noqa: ARG001
    raise ZeroDivisionError("a bug")


def segfault(request: Request) -> Answer:  # noqa: ARG001
    os.kill(os.getpid(), signal.SIGSEGV)
    return {}


def run_out_of_memory(request: Request) -> Answer:  # noqa: ARG001
    os.kill(os.getpid(), signal.SIGKILL)  # what the kernel's out-of-memory killer sends
    return {}


def hang(request: Request) -> Answer:  # noqa: ARG001
    time.sleep(600)
    return {}


def own_id(request: Request) -> Answer:  # noqa: ARG001
    return {"pid": os.getpid()}


def report_progress(request: Request) -> Answer:
    """Tell the costopt logger how far it is, as long work does."""
    for step in range(request["steps"]):
        logging.getLogger("costopt").info("step %d of %d", step + 1, request["steps"])
    return {"done": True}
