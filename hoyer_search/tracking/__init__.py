"""MLflow and the report: views of a sweep's folder that can be rebuilt from it at any time.

Importing this package loads neither MLflow, plotly nor matplotlib.
"""

from hoyer_search.tracking.address import default_uri as default_uri
from hoyer_search.tracking.client import check as check
from hoyer_search.tracking.comparing import write_comparison as write_comparison
from hoyer_search.tracking.pulling import TrackedRecords as TrackedRecords
from hoyer_search.tracking.pulling import registered_artifact as registered_artifact
from hoyer_search.tracking.report import write_front_png as write_front_png
from hoyer_search.tracking.report import write_report as write_report
from hoyer_search.tracking.sync import SyncReport as SyncReport
from hoyer_search.tracking.sync import sweep_link as sweep_link
from hoyer_search.tracking.sync import sync as sync
from hoyer_search.tracking.tracker import Tracker as Tracker
from hoyer_search.tracking.ui import serve_ui as serve_ui
from hoyer_search.tracking.ui import start_ui as start_ui
from hoyer_search.tracking.ui import stop_ui as stop_ui
