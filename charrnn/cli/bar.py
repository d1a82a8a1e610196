"""Progress bars on stderr, where that is a terminal that understands them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from charrnn.console import is_plain
from charrnn.outlet import Outlet

if TYPE_CHECKING:
    from tqdm import tqdm

DELAY_S = 1.0  # what takes less needs no bar, and does not wait for tqdm to be loaded
LAYOUT = "{percentage:3.0f}%|{bar}| {desc}  {elapsed}<{remaining}"


def new_bar(layout: str, total: float, **more: Any) -> tqdm[Any]:
    """A bar of tqdm on stderr that is removed at its end; ``layout`` is its ``bar_format``."""
    from tqdm import tqdm

    # otherwise a thread prints, too, and holds a lock while it waits for a reader
    unwatched: type[tqdm[Any]] = type("Bar", (tqdm,), {"monitor_interval": 0})
    return unwatched(
        total=total,
        miniters=0,  # look at the clock at every step: without that thread, nobody else would
        file=Outlet(sys.stderr),
        dynamic_ncols=True,
        leave=False,
        bar_format=layout,
        **more,
    )


Progress = Callable[[float, str], None]


@contextmanager
def progress(total: float, quiet: bool, *, product: bool = True) -> Iterator[Progress]:
    """``tell(done, text)`` moves a bar to ``done`` of ``total``, with a text beside it.

    The bar appears after a second. Nothing is drawn if ``quiet``, if stderr is no place for bars,
    or if stdout is a terminal where the product appears meanwhile (``product``): that shows the
    progress, and a bar would cut through it.
    """
    if quiet or is_plain(sys.stderr) or (product and sys.stdout.isatty()):
        yield lambda done, text: None
        return
    began = time.time()
    bar: tqdm[Any] | None = None

    def tell(done: float, text: str) -> None:
        nonlocal bar
        if bar is None and time.time() - began < DELAY_S:
            return
        with suppress(OSError):  # a terminal that was closed must not end the work
            is_new = bar is None
            if bar is None:
                bar = new_bar(LAYOUT, total, desc=text, delay=1.0)  # not drawn yet: it says 0 %
                bar.delay, bar.start_t, bar.last_print_t = 0.0, began, began
            bar.set_description_str(text, refresh=False)
            if not bar.update(done - bar.n) and is_new:
                bar.refresh()

    try:
        yield tell
    finally:
        if bar is not None:
            with suppress(OSError):
                bar.close()
