"""What runs a block of code in the browser, in the worker's Python: its output, its last value, its errors.

`start` is given where output goes; `run` runs a block in the one namespace of the page.
"""

import ast
import json
import linecache
import sys
import time
import traceback

namespace: dict = {"__name__": "__main__"}
LIMIT = 200_000  # signs of output of one block; a page with more would be slow


class Output:
    """A file that hands text on, a few times a second at most."""

    def __init__(self, send, error):
        self.send, self.error = send, error
        self.text, self.sent, self.at = [], 0, 0.0

    def write(self, text):
        self.text.append(text)
        if time.monotonic() - self.at > 0.05:
            self.flush()
        return len(text)

    def flush(self):
        text, self.text = "".join(self.text), []
        left = LIMIT - self.sent
        if text and left > 0:
            cut = "\n… the rest is not shown\n" if len(text) > left else ""
            self.send(text[:left] + cut, self.error)
        self.sent += len(text)
        self.at = time.monotonic()

    def isatty(self):
        return False


def start(send):
    sys.stdout, sys.stderr = Output(send, False), Output(send, True)
    import minidl  # noqa: F401  (the first block need not wait for it)


def run(code, name):
    """Runs a block. As JSON: whether it ended well, its last value as SVG and as text, and the error."""
    ok, svg, value, error = True, None, None, None
    file = f"<{name}>"
    linecache.cache[file] = (len(code), None, code.splitlines(keepends=True), file)
    sys.stdout.sent = sys.stderr.sent = 0
    try:
        body = ast.parse(code, file).body
        last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), file, "exec"), namespace)
        if last:
            result = eval(compile(ast.Expression(last.value), file, "eval"), namespace)
            if hasattr(result, "_repr_svg_"):
                svg = result._repr_svg_()
            elif result is not None:
                value = repr(result)[:LIMIT]
    except BaseException as raised:  # also SystemExit and KeyboardInterrupt: the worker goes on
        ok, error = False, shown(raised)
    sys.stdout.flush()
    sys.stderr.flush()
    return json.dumps([ok, svg, value, error])


def shown(error):
    """A traceback with the reader's own lines only."""
    told = traceback.TracebackException.from_exception(error)
    chain = told
    while chain:
        own = [frame for frame in chain.stack if frame.filename.startswith("<block")]
        chain.stack = traceback.StackSummary.from_list(own)
        chain = chain.__cause__ or chain.__context__
    return "".join(told.format())
