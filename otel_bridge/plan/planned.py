"""What is to run: components with their configuration, and the service around them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Optional

from pydantic import BaseModel, Field, SecretStr, create_model, field_validator

from otel_bridge import registry
from otel_bridge.announcement import DATA_DIR
from otel_bridge.assemble import AssembleConfig
from otel_bridge.component import Component, Kind
from otel_bridge.config import Bytes, BytesOrNone, Config, OfTenants, Seconds
from otel_bridge.delivery import DeliverConfig
from otel_bridge.files import Stamp, local
from otel_bridge.model import as_environment
from otel_bridge.tenants import TenantConfig, TenantName


class JournalConfig(Config):
    """The durable log between the receivers and everything else."""

    max_bytes: Annotated[Bytes, Field(ge=1 << 20)] = 8 << 30
    max_age: Seconds = 7 * 24 * 3600  # what is older is given up, and counted as expired
    when_full: Literal["refuse", "drop_oldest"] = "refuse"  # drop_oldest: counted as evicted where it was not delivered
    keep: BytesOrNone = 256 << 20  # of what is delivered everywhere, for `replay`; goes first when there is no room
    durability: Literal["fsync", "os"] = "fsync"  # os: survives the death of the process, not of the machine


class TranslateConfig(Config):
    """What the bridge adds to what the agents said.

    prices: model (or the beginning of its name and `*`) → usage bucket → US dollars per million tokens.
    environment: of traces that name none.
    """

    prices: dict[str, dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]]] = Field(default_factory=dict)
    environment: str | None = None

    @field_validator("environment")
    @classmethod
    def _is_one(cls, said: str | None) -> str | None:
        if not said:
            return None
        if (taken := as_environment(said)) is None:
            raise ValueError("write a-z, 0-9, - and _, not beginning with `langfuse`: Langfuse takes no others")
        return taken


class PipelineConfig(Config):
    """From which receivers, through which processors, to which exporters."""

    receivers: list[str] = Field(min_length=1)
    processors: list[str] = Field(default_factory=list)
    exporters: list[str] = Field(min_length=1)


class ServiceConfig(Config):
    """Everything that is not a component."""

    INSTEAD: ClassVar = {"extensions": "whatever stands under extensions runs: leave it out"}

    data_dir: str = DATA_DIR
    journal: JournalConfig = JournalConfig()
    assemble: AssembleConfig = AssembleConfig()
    deliver: DeliverConfig = DeliverConfig()
    translate: TranslateConfig = TranslateConfig()
    tenants: dict[TenantName, TenantConfig] = Field(default_factory=dict)
    strict_permissions: bool = False  # a key file that every user of the machine can read is a mistake, and no warning
    pipelines: dict[str, PipelineConfig] = Field(min_length=1)

    @field_validator("data_dir")
    @classmethod
    def _leads_somewhere(cls, name: str) -> str:
        if not name.strip():
            raise ValueError("must not be empty")
        local(name)
        return name


@dataclass(slots=True, frozen=True)
class Planned:
    """A component with the configuration that it will run with.

    tenants: of an exporter, the configuration for each tenant that has keys of its own for it. Where there are any, it
        runs once for each of these tenants, and never with `config`, which may then lack what is required.
    """

    id: str
    component: Component[Any]
    config: Config
    tenants: Mapping[str, Config] = field(default_factory=dict)

    @property
    def has_secrets(self) -> bool:
        """Whether `config` holds what gives access to something that is somebody's."""
        return any(secret.get_secret_value() for _, secret in _secrets(self.config))


@dataclass(slots=True, frozen=True)
class Plan:
    """A configuration that can be run.

    origin: what it was read from, for messages.
    sources: `service::data_dir` → where the value was given, as `bridge.yaml:14` or `bridge.yaml:14 env X`.
    warnings: what is probably not meant, in the form of mistakes.
    exposed: of these, what listens for others than this machine without protection, as it was told to.
    files: what it was read from, as that was then; also what was looked for in vain.
    folder: where names of files in it begin.
    """

    origin: str
    receivers: Mapping[str, Planned]
    processors: Mapping[str, Planned]
    exporters: Mapping[str, Planned]
    extensions: Mapping[str, Planned]
    service: ServiceConfig
    sources: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    files: Mapping[Path, Stamp] = field(default_factory=dict)
    folder: Path = field(default_factory=Path)

    def processors_of(self, pipeline: str, kind: Kind) -> list[Planned]:
        """The processors of one kind that a pipeline names, in its order."""
        named = [self.processors[key] for key in self.service.pipelines[pipeline].processors]
        return [planned for planned in named if planned.component.kind is kind]

    @property
    def data_dir(self) -> Path:
        """Where the bridge keeps its files, absolute."""
        return local(self.service.data_dir, self.folder).absolute()

    def to_dict(self, *, show_secrets: bool = False) -> dict[str, Any]:
        """The whole configuration with every default filled in, as plain values; secrets are `***` unless asked for."""
        whole: dict[str, Any] = {
            section: {key: _whole(planned.config, show_secrets) for key, planned in getattr(self, section).items()}
            for section in registry.SECTIONS
        }
        service = whole["service"] = _plain(self.service, show_secrets)
        for name, tenant in self.service.tenants.items():
            service["tenants"][name]["exporters"] = {
                key: _only(_plain(self.exporters[key].tenants[name], show_secrets), own)
                for key, own in tenant.exporters.items()
            }
        return {section: values for section, values in whole.items() if values}


def partial(model: type[Config]) -> type[Config]:
    """The same, with nothing required."""
    fields: dict[str, Any] = {
        name: (Optional[of.annotation], None)  # noqa: UP045 - an annotation that is only known now
        for name, of in model.model_fields.items()
        if of.is_required()
    }
    made: type[Config] = create_model(model.__name__, __base__=model, **fields)
    return made


def mapping(node: Any) -> dict[str, Any]:
    """A mapping as it is; an empty one for all else, which is told of where it is read."""
    return node if isinstance(node, dict) else {}


def _only(plain: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: plain[key] for key in keys}


def _whole(config: Config, show_secrets: bool) -> dict[str, Any]:
    """The same as `_plain`; where something else is said for some tenants, with all that is so for each of them."""
    plain = _plain(config, show_secrets)
    if isinstance(config, OfTenants):
        plain["tenants"] = {
            name: _only(_plain(config.of(name), show_secrets), type(own).model_fields)
            for name, own in config.tenants.items()
        }
    return plain


def _plain(config: BaseModel, show_secrets: bool) -> dict[str, Any]:
    """A config as plain JSON values; pydantic writes the units, this hides or shows the secrets."""
    plain: dict[str, Any] = config.model_dump(mode="json")
    if show_secrets:
        for path, secret in _secrets(config):
            at: Any = plain
            for part in path[:-1]:
                at = at[part]
            at[path[-1]] = secret.get_secret_value()
    return plain


def _secrets(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], SecretStr]]:
    if isinstance(value, SecretStr):
        yield path, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets(getattr(value, name), (*path, name))
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _secrets(inner, (*path, key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _secrets(inner, (*path, index))
