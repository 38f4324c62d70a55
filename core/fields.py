"""Building blocks of the spec's models: the base of its sections, types and patterns of fields, mistakes in keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError

from core.addresses import PUBLIC_ADDRESS, has_secret

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
NO_CONTROLS = r"^[^\x00-\x1f\x7f]+$"
DEPLOYMENT = r"^[^/\x00-\x1f\x7f]+/[^/\x00-\x1f\x7f]+$"
SHA256 = r"^[0-9a-f]{64}$"
ENDPOINT = r"https?://([A-Za-z0-9._\-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~!$&'()*+,;=:%/\-]*)?"
"""An address of an object store or a site: a host, which may have a port and a path, without user, query and
fragment."""
SITE = f"^{ENDPOINT}$"
EXPECTED_TEXT = {
    NAME: "at most 100 letters, digits, '.', '_' and '-', a letter or digit first",
    NO_CONTROLS: "text of a character or more, without control characters",
    SHA256: "64 hex digits",
    SITE: "an address such as https://example.org/atlas, without user and query",
    DEPLOYMENT: "the name of a flow and of its deployment, such as render-shard/gpu",
}
"""Pattern of a field -> the text that matches it, in words for a message."""
KEY_MISTAKE = "key_mistake"
"""Type of the pydantic errors whose message names the wrong key of a section and the reason."""
SECRET_ADDRESS = "secret_address"
"""Type of the pydantic errors for an address that may have a secret."""


def key_mistake(key: str, problem: str) -> PydanticCustomError:
    """Return the error for one key of a section."""
    return PydanticCustomError(KEY_MISTAKE, "{key}: {problem}", {"key": key, "problem": problem})


def _refuse_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("float_type", "Input should be a number")
    return value


Number = Annotated[float, BeforeValidator(_refuse_boolean)]
"""A number that is not a boolean. Text such as 1e-3 is accepted too, because YAML reads it as text."""

FiniteNumber = Annotated[Number, Field(ge=-1e6, le=1e6)]
"""A finite number in the range of image values that networks expect."""


def _refuse_secret(address: str) -> str:
    if has_secret(address):  # the message does not repeat the address
        raise PydanticCustomError(
            SECRET_ADDRESS, "expected an address without user, password and query, which would be published"
        )
    return address


PublicAddress = Annotated[
    str,
    Field(pattern=NO_CONTROLS, json_schema_extra={"pattern": PUBLIC_ADDRESS}),
    AfterValidator(_refuse_secret),
]
"""A path, or an address that may be published. Prefect's server checks the pattern before it stores a parameter."""


class Frozen(BaseModel):
    """A section of a spec: it cannot change, and has no unknown keys."""

    # pydantic's own messages do not repeat values, because a refused address may have a password.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the schema of a section in the words that Prefect's forms understand."""
        found = handler(schema)
        for field in handler.resolve_ref_schema(found).get("properties", {}).values():
            for part in _parts(field):
                _simplify(part)
            if "$ref" in field and "default" in field:
                _keep_defaults(field["default"], field, handler)
        return found


def _keep_defaults(default: dict[str, Any], section: dict[str, Any], handler: GetJsonSchemaHandler) -> None:
    """Make the default of a section, and of those within it, that of its fields which have a default of their own."""
    fields = handler.resolve_ref_schema(section)["properties"]
    for name, field in fields.items():  # data of a section may lack fields with their defaults
        if "default" in field:
            default.setdefault(name, field["default"])
    for name in list(default):
        if "$ref" in fields[name]:
            _keep_defaults(default[name], fields[name], handler)
        elif "default" not in fields[name]:
            del default[name]


def _parts(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a schema and the schemas within it."""
    yield schema
    inner = [*schema.get("anyOf", []), *schema.get("oneOf", []), *schema.get("prefixItems", [])]
    for part in [*inner, schema["items"]] if "items" in schema else inner:
        yield from _parts(part)


def _simplify(schema: dict[str, Any]) -> None:
    """Replace the keywords that Prefect's forms ignore, or show as a bare text field, by those that they understand."""
    for limit, keyword in (("ge", "minimum"), ("le", "maximum")):  # pydantic leaves them where a validator comes first
        if limit in schema:
            schema[keyword] = schema.pop(limit)
    step = 1 if schema.get("type") == "integer" else 0
    if "exclusiveMinimum" in schema:
        schema["minimum"] = schema["exclusiveMinimum"] + step
    if "exclusiveMaximum" in schema:
        schema["maximum"] = schema["exclusiveMaximum"] - step
    if "const" in schema:
        constant = schema.pop("const")
        schema |= {"enum": [constant], "default": constant}
    if "oneOf" in schema:
        schema["anyOf"] = schema.pop("oneOf")
        schema.pop("discriminator", None)
    if "prefixItems" in schema:  # all alike in a spec
        schema["items"] = schema.pop("prefixItems")[0]
