"""The edge to MLflow: its switches are set here, and its exceptions stop here."""

import logging
import os
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from hoyer_search.errors import ConnectionFailed, HoyerSearchError
from hoyer_search.redaction import redact
from hoyer_search.tracking.address import SQLITE, check_address, without_password

_ENVIRONMENT = {
    # With MLflow's own defaults a dead server blocks for 247 seconds.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    # A sweep sends nothing to anybody but the tracking server it was given.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Only the command line configures logging.
    "MLFLOW_CONFIGURE_LOGGING": "0",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_LONGEST_REASON = 500


class RecordGone(HoyerSearchError):
    """A run, experiment or model that was recorded is not there any more."""


def settings() -> None:
    """Sets MLflow's timeouts and switches in the environment, where the user has set none."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


Method = TypeVar("Method", bound=Callable[..., Any])


def edge(method: Method) -> Method:
    """Lets none of MLflow's exceptions, nor of the libraries under it, out of a Connection.

    A password in the URI is neither in the text of what is raised nor in what is chained to it.
    """

    @wraps(method)
    def wrapper(self: "Connection", *args: Any, **kwargs: Any) -> Any:
        outermost = self.watch.start()
        try:
            return method(self, *args, **kwargs)
        except HoyerSearchError:
            raise
        except Exception as error:  # requests, SQLAlchemy, alembic and the disk besides MLflow
            has_password = without_password(self.uri) != self.uri
            raise _translated(error, self.uri, method.__name__) from (
                None if has_password else error
            )
        finally:
            if outermost:
                self.watch.stop()

    return cast(Method, wrapper)


class Watch:
    """How long calls take; one thread makes them, any may read."""

    def __init__(self) -> None:
        self._total = 0.0
        self._since: float | None = None
        self._recent: deque[float] = deque(maxlen=3)

    @property
    def seconds(self) -> float:
        """Returns the seconds spent in calls so far, one that is under way included."""
        return self._total + self._pending()

    @property
    def slowness(self) -> float:
        """Returns the seconds of a recent call, on average, or so far of one under way if more."""
        recent = list(self._recent)
        return max(self._pending(), sum(recent) / len(recent) if recent else 0.0)

    def start(self) -> bool:
        """Begins a call; returns False inside of another one."""
        if self._since is not None:
            return False
        self._since = time.monotonic()
        return True

    def stop(self) -> None:
        """Ends the outermost call."""
        took = self._pending()
        self._since = None
        self._total += took
        self._recent.append(took)

    def _pending(self) -> float:
        since = self._since
        return 0.0 if since is None else time.monotonic() - since


class Connection:
    """MLflow at one URI, and how long it took to answer.

    Args:
        uri: Tracking URI.
        create: Whether a local database that is not there is created.

    Raises:
        ConnectionFailed: MLflow cannot be used at this URI.
    """

    def __init__(self, uri: str, *, create: bool) -> None:
        self.uri = uri
        self.watch = Watch()
        self._api = self._connect(create)

    @property
    def shown_uri(self) -> str:
        """Returns the URI without user and password, fit to be printed."""
        return without_password(self.uri)

    @edge
    def _connect(self, create: bool) -> Any:
        settings()
        if self.uri.startswith(SQLITE):
            path = Path(self.uri.removeprefix(SQLITE))
            if not create and not path.is_file():
                raise ConnectionFailed(
                    f"there is no tracking database {path}: give --tracking-uri the URI that the "
                    "sweep was run or synced with"
                )
            check_address(self.uri)
            path.parent.mkdir(parents=True, exist_ok=True)
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)


def with_tags(tags: Mapping[str, str]) -> str:
    """Returns MLflow's filter for what carries all of some tags."""
    return " AND ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())


def _translated(error: Exception, uri: str, doing: str) -> HoyerSearchError:
    text = redact(str(error))
    missing = getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST"
    if missing or "must be in the 'active' state" in text:
        return RecordGone(text)
    reason = text.strip().split("\n")[0][:_LONGEST_REASON]
    if re.search(r"\b40[13]\b", reason):
        reason += (
            ". Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to those of a user who "
            "may do that"
        )
    return ConnectionFailed(f"MLflow at {without_password(uri)}: {doing} failed: {reason}")
