"""The plugin's interface to TensorBoard: routes, answers, errors; see ``http_api.md``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from tensorboard import errors, plugin_util
from tensorboard.backend import http_util
from tensorboard.plugins import base_plugin
from werkzeug import Request, Response
from werkzeug.exceptions import HTTPException

from tb_adam_plugin import schema
from tb_adam_plugin.event_files.log_roots import LogRoots
from tb_adam_plugin.event_files.quick_turns import quick_turns
from tb_adam_plugin.explanations.explain import explain_rule, explain_statistic
from tb_adam_plugin.languages.catalogues import LANGUAGES
from tb_adam_plugin.reading.file_source import FileSource
from tb_adam_plugin.reading.known_values import known_statistic
from tb_adam_plugin.reading.provider_source import ProviderSource
from tb_adam_plugin.reading.record_source import Experiment, RecordSource, UnreadableError
from tb_adam_plugin.reading.store import AXES, Store
from tb_adam_plugin.serving import json_answers, packed_answers
from tb_adam_plugin.serving.assets import Assets
from tb_adam_plugin.serving.comparison_answers import comparison_fields
from tb_adam_plugin.serving.comparisons import Comparisons
from tb_adam_plugin.serving.findings_cache import FindingsCache
from tb_adam_plugin.serving.packing import json_text
from tb_adam_plugin.serving.query import Query
from tb_adam_plugin.serving.run_states import RunStates
from tb_adam_plugin.serving.traffic import Traffic
from tb_adam_plugin.untrusted_text import printable, quoted

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_STATIC = "/static/"
_MAX_STEP = 2**53 - 1  # the largest exact integer in float64, which the tab uses

_logger = logging.getLogger(__name__)


class AdamDebugPlugin(base_plugin.TBPlugin):
    """Serves the tab "Adam Debug" and its data."""

    plugin_name = schema.PLUGIN_NAME

    def __init__(self, context: Any) -> None:
        """Keep what TensorBoard provides; nothing is read yet.

        Args:
            context: TensorBoard's ``TBContext``.
        """
        self._store = Store(_source(context))
        self._findings_of = FindingsCache(self._store)
        self._traffic = Traffic()
        self._states = RunStates(self._store, self._findings_of, self._traffic)
        self._comparisons = Comparisons(self._store)
        self._assets = Assets()

    def is_active(self) -> bool:
        """Return False: TensorBoard itself detects whether there is data of ours."""
        return False

    def frontend_metadata(self) -> base_plugin.FrontendMetadata:
        """Name the tab and its ES module."""
        return base_plugin.FrontendMetadata(
            es_module_path=_STATIC + self._assets.module_path(), tab_name="Adam Debug"
        )

    def get_plugin_apps(self) -> dict[str, WSGIApplication]:
        """Return the route table."""
        routes = {
            "/summary": self._summary,
            "/revision": self._revision,
            "/overview": self._overview,
            "/series": self._series,
            "/steps": self._steps,
            "/gradient_norms": self._gradient_norms,
            "/scalar": self._scalar,
            "/hyperparameters": self._hyperparameters,
            "/histograms": self._histograms,
            "/findings": self._findings,
            "/states": self._run_states,
            "/compare": self._compare,
            "/explain": self._explain,
            f"{_STATIC}*": self._static,
        }
        return {
            path: Request.application(partial(_answer, self._traffic, handler))
            for path, handler in routes.items()
        }

    def _summary(self, request: Request) -> Response:
        language = Query(request, ("lang",)).choice("lang", LANGUAGES)
        runs = self._store.runs(_experiment(request))
        return _respond(request, json_answers.summary(runs, language), _JSON)

    def _revision(self, request: Request) -> Response:
        Query(request, ())
        runs = self._store.runs(_experiment(request))
        return _respond(request, json_answers.revision(runs), _JSON)

    def _overview(self, request: Request) -> Response:
        query = Query(
            request,
            ("run", "statistic", "columns", "crowded", "from", "to", "since", "against", "axis"),
        )
        run = query.text("run")
        statistic = query.text("statistic", "update_to_weight_ratio")
        columns = query.number("columns", 1024, 1, 4096)
        crowded = query.choice("crowded", packed_answers.CROWDED)
        first = query.number("from", 0, 0, _MAX_STEP)
        last = query.number("to", _MAX_STEP, 0, _MAX_STEP)
        if first > last:
            raise errors.InvalidArgumentError(f"from={first} is after to={last}")
        since = query.number("since", -1, 0, _MAX_STEP)
        axis = query.choice("axis", AXES)
        against = query.text("against", "") or None
        experiment = _experiment(request)
        if against is None:
            records = known_statistic(self._store, experiment, run, statistic)
        else:
            records = self._store.comparison(
                experiment,
                run,
                statistic,
                against,
                axis,
                difference=packed_answers.compares_by_difference(statistic),
            )
        answer = packed_answers.overview(
            run, statistic, records, columns, (first, last), since, against, crowded
        )
        return _respond(request, answer, _PACKED)

    def _series(self, request: Request) -> Response:
        query = Query(request, ("run", "parameter", "since"))
        run, parameter = query.text("run"), query.text("parameter")
        since = query.number("since", -1, 0, _MAX_STEP)
        records = self._store.parameter(_experiment(request), run, parameter)
        return _respond(request, packed_answers.series(run, parameter, records, since), _PACKED)

    def _steps(self, request: Request) -> Response:
        query = Query(request, ("run", "since"))
        run, since = query.text("run"), query.number("since", -1, 0, _MAX_STEP)
        records = self._store.steps(_experiment(request), run)
        return _respond(request, packed_answers.steps(run, records, since), _PACKED)

    def _gradient_norms(self, request: Request) -> Response:
        query = Query(request, ("run", "parameter", "columns", "since"))
        run = query.text("run")
        parameter = query.text("parameter", "") or None
        columns = query.number("columns", 1024, 1, 4096)
        since = query.number("since", -1, 0, _MAX_STEP)
        records = self._store.gradient_norms(_experiment(request), run, parameter)
        answer = packed_answers.gradient_norms(run, parameter, records, columns, since)
        return _respond(request, answer, _PACKED)

    def _scalar(self, request: Request) -> Response:
        query = Query(request, ("run", "tag", "since"))
        run, tag = query.text("run"), query.text("tag")
        since = query.number("since", -1, 0, _MAX_STEP)
        records = self._store.scalar(_experiment(request), run, tag)
        return _respond(request, packed_answers.scalar(run, tag, records, since), _PACKED)

    def _hyperparameters(self, request: Request) -> Response:
        query = Query(request, ("run", "since"))
        run, since = query.text("run"), query.number("since", -1, 0, _MAX_STEP)
        records = self._store.hyperparameters(_experiment(request), run)
        return _respond(request, packed_answers.hyperparameters(run, records, since), _PACKED)

    def _histograms(self, request: Request) -> Response:
        query = Query(request, ("run", "parameter", "quantity", "columns", "since"))
        run, parameter = query.text("run"), query.text("parameter")
        quantities = query.texts("quantity")
        columns = query.number("columns", 256, 1, 2000)
        since = query.number("since", -1, 0, _MAX_STEP)
        records = self._store.histograms(
            _experiment(request), run, parameter, quantities, columns, since
        )
        return _respond(request, packed_answers.histograms(run, records), _PACKED)

    def _findings(self, request: Request) -> Response:
        query = Query(request, ("run", "lang"))
        run, language = query.text("run"), query.choice("lang", LANGUAGES)
        diagnosis = self._findings_of.get(_experiment(request), run)
        return _respond(request, json_answers.findings(run, diagnosis, language), _JSON)

    def _run_states(self, request: Request) -> Response:
        query = Query(request, ("run", "lang"))
        wanted = query.texts("run") if "run" in request.args else []
        language = query.choice("lang", LANGUAGES)
        states, busy = self._states.get(_experiment(request), wanted)
        return _respond(request, json_answers.states(states, busy, language), _JSON)

    def _compare(self, request: Request) -> Response:
        query = Query(request, ("run", "lang"))
        runs, language = query.texts("run"), query.choice("lang", LANGUAGES)
        found, ids, left_out = self._comparisons.get(_experiment(request), runs)
        answer = comparison_fields(found, language, ids, left_out)
        return _respond(request, json_text(answer), _JSON)

    def _explain(self, request: Request) -> Response:
        query = Query(request, ("rule", "statistic", "lang"))
        rule, statistic = query.text("rule", ""), query.text("statistic", "")
        if bool(rule) == bool(statistic):
            raise errors.InvalidArgumentError("expected one of rule and statistic")
        language = query.choice("lang", LANGUAGES)
        kind, name = ("rule", rule) if rule else ("statistic", statistic)
        found = explain_rule(rule, language) if rule else explain_statistic(statistic, language)
        if found is None:
            raise errors.NotFoundError(f"no {kind} {quoted(name)}")
        return _respond(request, json_answers.explanation(kind, found), _JSON)

    def _static(self, request: Request) -> Response:
        path = request.path.partition(_STATIC)[2]
        asset = self._assets.read(path)
        if asset is None:
            raise errors.NotFoundError(f"no file {quoted(path)}; reload the page")
        response: Response = http_util.Respond(
            request, asset.content, asset.content_type, expires=asset.expires
        )
        return response


def _source(context: Any) -> RecordSource:
    """Read event files on this machine directly, and others through TensorBoard."""
    kept_records = (context.sampling_hints or {}).get(schema.PLUGIN_NAME)
    provider = ProviderSource(context.data_provider, kept_records)
    roots = None if context.flags is None else LogRoots.of_flags(context.flags)
    return provider if roots is None else FileSource(roots, provider)


_JSON = "application/json"
_PACKED = "application/octet-stream"


def _answer(traffic: Traffic, handler: Callable[[Request], Response], request: Request) -> Response:
    """Answer a request; any error becomes one sentence of plain text."""
    try:
        if request.method not in ("GET", "HEAD"):
            return _fail(request, 405, f"{quoted(request.method)} is not allowed here, only GET")
        with traffic, quick_turns():
            return handler(request)
    except errors.PublicError as error:
        return _fail(request, error.http_code, str(error))
    except UnreadableError as error:
        _logger.warning("%s", printable(str(error)))
        return _fail(request, 503, str(error))
    except HTTPException as error:
        return _fail(request, error.code or 500, str(error))
    except Exception:
        _logger.exception("Adam Debug could not answer %r", request.path)
        return _fail(
            request, 500, "Adam Debug failed to answer; TensorBoard's log in the terminal says why."
        )


def _fail(request: Request, code: int, text: str) -> Response:
    headers = [("Allow", "GET, HEAD")] if code == 405 else None
    response: Response = http_util.Respond(
        request, text.encode("utf-8", "replace"), "text/plain", code=code, headers=headers
    )
    return response


def _respond(request: Request, content: str | bytes, content_type: str) -> Response:
    response: Response = http_util.Respond(request, content, content_type)
    return response


def _experiment(request: Request) -> Experiment:
    return Experiment(
        plugin_util.context(request.environ), plugin_util.experiment_id(request.environ)
    )
