"""What the demo shows in a terminal."""
import sys

from tqdm import tqdm


def say(text=""):
    """Print a line without tearing a progress bar apart."""
    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()  # a log file shows it at once, too


def bar(items, label, unit="it", total=None):
    """Iterate with a progress bar, which goes when it is done; silent where the output is not a terminal."""
    return tqdm(items, total=total, desc=f"{label:12}", unit=unit, leave=False, disable=None)
