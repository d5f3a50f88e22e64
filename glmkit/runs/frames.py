"""Tables for pandas, which is not needed for anything else."""

from collections.abc import Mapping
from typing import Any

from glmkit.errors import GLMKitError

__all__ = ["data_frame"]


def data_frame(columns: Mapping[str, Any]):
    """A pandas.DataFrame of columns of one length. Raises GLMKitError saying what to install."""
    try:
        import pandas
    except ImportError as error:
        raise GLMKitError('to_pandas() needs pandas; run: pip install "glmkit[notebook]"') from error
    return pandas.DataFrame(dict(columns))
