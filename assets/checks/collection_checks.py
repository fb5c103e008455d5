"""How a check is carried out: for one collection in its run, or for all that are stored.

A check is a function of values, which are named like their assets. It reads what is stored through
the io manager, so a value that is damaged is a finding like any other. A run that has a partition
evaluates that collection. One that has none, as *Execute all* in Dagster's UI starts it, evaluates
every collection of which the asset is stored, each with a result of its own.

A check that fails at ERROR fails its run, after its result is stored.
"""

import inspect
import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

import dagster as dg

from assets.generations import FAILED_CHECK, UNPARTITIONED, check_path
from assets.io_managers import FolderIOManager
from assets.methods.common.errors import UserError
from assets.methods.common.shown_text import shown
from assets.resources.collections import PARTITIONS_NAME
from assets.resources.partitions import COLLECTIONS

CheckFunction = Callable[..., dg.AssetCheckResult]
ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
# The key, in the metadata of an evaluation, of the collection that was evaluated.
COLLECTION = "collection"


@dataclass(frozen=True)
class CollectionCheck:
    """A check of an asset, which may compare it with ``inputs``, the values of other assets."""

    function: CheckFunction
    asset: str
    inputs: tuple[str, ...]
    is_partitioned: bool

    @property
    def name(self) -> str:
        """The name that Dagster shows."""
        return self.function.__name__

    @property
    def key(self) -> dg.AssetCheckKey:
        """The key of the check among those of all assets."""
        return dg.AssetCheckKey(dg.AssetKey(self.asset), self.name)

    @property
    def resources(self) -> set[str]:
        """The names of the resources that the function asks for."""
        return set(inspect.signature(self.function).parameters) - {self.asset, *self.inputs}

    def evaluate(
        self, files: FolderIOManager, partition: str, resources: Mapping[str, Any]
    ) -> dg.AssetCheckResult:
        """Evaluate what is stored of a partition. Whatever goes wrong is a failed result."""
        try:
            values = self._values(files, partition)
        except UserError as error:
            return self._result(_failed(str(error)), partition)
        try:
            result = self.function(**values, **resources)
        except Exception as error:
            fault = _failed(f"could not be evaluated: {type(error).__name__}: {error}")
            return self._result(fault, partition)
        newer = self._newer_inputs(files, partition) if is_failure(result) else []
        if newer:
            result = dg.AssetCheckResult(
                passed=False,
                severity=WARN,
                description=f"{result.description}; {' and '.join(newer)} changed after "
                f"{self.asset} was made: materialise {self.asset} again",
                metadata=result.metadata,
            )
        return self._result(result, partition)

    def _values(self, files: FolderIOManager, partition: str) -> dict[str, Any]:
        types = get_type_hints(self.function)
        parameters = inspect.signature(self.function).parameters
        names = [name for name in parameters if name in (self.asset, *self.inputs)]
        return {name: files.read_checked(types[name], name, partition) for name in names}

    def _newer_inputs(self, files: FolderIOManager, partition: str) -> list[str]:
        """Return the inputs that another run has written after the value was made."""
        own = files.origin(self.asset, partition)
        origins = {name: files.origin(name, partition) for name in self.inputs}
        return [
            name
            for name, one in origins.items()
            if own.run_id and one.run_id != own.run_id and one.written_at > own.written_at
        ]

    def _result(self, result: dg.AssetCheckResult, partition: str) -> dg.AssetCheckResult:
        named = {} if partition == UNPARTITIONED else {COLLECTION: partition}
        return dg.AssetCheckResult(
            passed=bool(result.passed),
            asset_key=self.asset,
            check_name=self.name,
            # The UI colours a check by the severity of its last result, be it a pass.
            severity=ERROR if result.passed else result.severity,
            description=shown(result.description or ""),
            metadata={**named, **result.metadata},
        )


def check_of(
    definitions: list[dg.AssetChecksDefinition],
    asset: str,
    *inputs: str,
    blocking: bool = False,
    is_partitioned: bool = True,
) -> Callable[[CheckFunction], CheckFunction]:
    """Return a decorator that adds a check of ``asset`` to ``definitions``.

    The parameters of the function are ``asset``, ``inputs`` and resources. The function stays what
    it is.
    """

    def add(function: CheckFunction) -> CheckFunction:
        check = CollectionCheck(function, asset, inputs, is_partitioned)
        definitions.append(_definition(check, blocking))
        return function

    return add


def finite(**numbers: float) -> dict[str, float]:
    """Return the numbers that are finite, as metadata that Dagster can plot."""
    return {name: number for name, number in numbers.items() if math.isfinite(number)}


def is_failure(result: dg.AssetCheckResult | dg.AssetCheckEvaluation) -> bool:
    """Whether a result fails its run."""
    return not result.passed and result.severity is ERROR


def _definition(check: CollectionCheck, blocking: bool) -> dg.AssetChecksDefinition:
    # The inputs come before the asset, so the check need not wait for them. As dependencies they
    # would keep it from being evaluated where a blocking check of one of them fails.
    with warnings.catch_warnings():
        # Dagster 1.13 calls partitions of checks a preview (docs/decisions.md).
        warnings.simplefilter("ignore", dg.PreviewWarning)
        spec = dg.AssetCheckSpec(
            check.name,
            asset=check.asset,
            description=inspect.cleandoc(check.function.__doc__ or ""),
            blocking=blocking,
            partitions_def=COLLECTIONS if check.is_partitioned else None,
        )

    # A check that can be left out need not have a result: there may be nothing stored to evaluate.
    @dg.multi_asset_check(
        name=f"{check.asset}_{check.name}",
        specs=[spec],
        can_subset=True,
        required_resource_keys={"io_manager", *check.resources},
    )
    def execute(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        yield from _execute(check, blocking, context)

    return execute


def _execute(
    check: CollectionCheck, blocking: bool, context: dg.AssetCheckExecutionContext
) -> Iterator[dg.AssetCheckResult]:
    files: FolderIOManager = context.resources.io_manager
    resources = {name: getattr(context.resources, name) for name in check.resources}
    is_of_all = check.is_partitioned and not context.has_partition_key
    if is_of_all:
        known = set(context.instance.get_dynamic_partitions(PARTITIONS_NAME))
        stored = [name for name in files.partitions(check.asset) if name in known]
        results = [check.evaluate(files, name, resources) for name in stored]
        _log_each(check, blocking, context, results)
    else:
        partition = context.partition_key if check.is_partitioned else UNPARTITIONED
        is_stored = files.checked(check.asset, partition) is not None
        results = [check.evaluate(files, partition, resources)] if is_stored else []
        yield from results
    if not results:
        context.log.warning(f"No value of {check.asset} is stored, so nothing was evaluated.")
    failures = [result for result in results if is_failure(result)]
    if failures:
        raise dg.Failure(
            _sentence(check, failures, is_of_all),
            metadata={FAILED_CHECK: check_path(check.key.asset_key, check.name)},
            allow_retries=False,
        )


def _log_each(
    check: CollectionCheck,
    blocking: bool,
    context: dg.AssetCheckExecutionContext,
    results: list[dg.AssetCheckResult],
) -> None:
    """Store the results of several collections. Those that failed come last, as the UI shows one.

    Dagster takes a result for one partition at most, but any number of events.
    """
    for result in sorted(results, key=lambda one: (not one.passed, is_failure(one))):
        partition = str(result.metadata[COLLECTION].value)
        # It takes these, too, which its signature leaves out.
        context.op_execution_context.log_event(
            dg.AssetCheckEvaluation(  # type: ignore[arg-type]
                asset_key=check.key.asset_key,
                check_name=check.name,
                passed=result.passed,
                metadata=result.metadata,
                target_materialization_data=_target(context, check, partition),
                severity=result.severity,
                description=result.description,
                blocking=blocking,
                partition=partition,
            )
        )


def _target(context: dg.AssetCheckExecutionContext, check: CollectionCheck, partition: str) -> Any:
    """Return which materialization a result is of: with another one Dagster calls it outdated."""
    wanted = dg.AssetRecordsFilter(check.key.asset_key, asset_partitions=[partition])
    records = context.instance.fetch_materializations(wanted, limit=1).records
    if not records:
        return None
    (newest,) = records
    # Dagster has no public class for it, but a public format.
    target = {
        "__class__": "AssetCheckEvaluationTargetMaterializationData",
        "storage_id": newest.storage_id,
        "run_id": newest.run_id,
        "timestamp": newest.timestamp,
    }
    return dg.deserialize_value(json.dumps(target))


def _failed(description: str) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, severity=ERROR, description=description)


def _sentence(check: CollectionCheck, failures: list[dg.AssetCheckResult], is_of_all: bool) -> str:
    """Return why a check fails its run; among several collections it says which."""
    if not is_of_all:
        return f"check {check.name} failed: {failures[0].description}"
    named = [f"{one.metadata[COLLECTION].value}: {one.description}" for one in failures]
    return f"check {check.name} failed for {'; '.join(named)}"
