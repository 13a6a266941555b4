"""The command line: every command is a thin face of a function that Python has too."""

import logging
import sys
import traceback
from types import TracebackType

import click

from hoyer_search import __version__
from hoyer_search.cli import environment, jobs, networks, planning, reports, service, sweeps
from hoyer_search.cli.terminal import err, say
from hoyer_search.errors import HoyerSearchError, InputError
from hoyer_search.redaction import redact

EXIT_ERROR, EXIT_INPUT, EXIT_INTERRUPTED = 1, 2, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="hoyer-search")
def cli() -> None:
    """Find the sparsest network at a given accuracy, with DeepHoyer regularizers.

    \b
    hoyer-search run quickstart             a sweep on this machine, a few minutes
    hoyer-search show SWEEP                 its Pareto front
    hoyer-search report SWEEP               the same and more, as one HTML file
    hoyer-search pull SWEEP --point B -o best/
    hoyer-search evaluate best/             the pulled network, measured again
    hoyer-search export best/ --format onnx -o best.onnx
    hoyer-search compress resnet50 --weights mine.pth --threshold 1e-4 -o small/
    hoyer-search submit SPACE --address http://head:8265 --storage /shared/runs
    """


for _command in (
    sweeps.run,
    sweeps.resume,
    sweeps.show,
    reports.report,
    reports.compare,
    sweeps.sync,
    networks.pull,
    networks.evaluate,
    networks.export,
    networks.compress,
    sweeps.ui,
    environment.doctor,
    jobs.submit,
    service.list_sweeps,
    service.status,
    service.logs,
    service.stop,
    service.wait,
    jobs.drive,
    planning.list_spaces,
    planning.plan,
    planning.simulate,
):
    cli.add_command(_command)


class _Redacting(logging.Formatter):
    """Formats a record, traceback included, without the secrets in it."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def _print_redacted(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Prints the traceback of an error that nobody expected, without the secrets in it."""
    sys.stderr.write(redact("".join(traceback.format_exception(kind, error, trace))))


def main() -> None:
    """Runs the command line; exit codes are 0, 1 (failed), 2 (bad input), 130 (interrupted)."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Redacting("%(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    sys.excepthook = _print_redacted
    try:
        cli(prog_name="hoyer-search", standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(EXIT_INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except HoyerSearchError as error:
        say(f"error: {error}", console=err)
        sys.exit(EXIT_INPUT if isinstance(error, InputError) else EXIT_ERROR)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
