"""Types of members that several wire models share. Flagd definitions and OFREP bodies are not modelled: they pass as they are."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, JsonValue, StringConstraints

JsonObject: TypeAlias = dict[str, JsonValue]
FlagType: TypeAlias = Literal["boolean", "string", "number", "object"]
FlagState: TypeAlias = Literal["ENABLED", "DISABLED"]
ChangeOrigin: TypeAlias = Literal["edit", "bulk", "import", "promotion", "restore", "schedule"]

EnvironmentKey = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9\-_.]{0,127}$")]
# Clients put the key into OFREP's path as it is, so only what needs no escaping there.
FlagKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9\-_.]{0,127}$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Description = Annotated[str, StringConstraints(max_length=4_000)]
Tag = Annotated[str, StringConstraints(pattern=r"^[^\s,]{1,64}$")]
Tags = Annotated[list[Tag], Field(max_length=50)]
Variants = Annotated[
    JsonObject, Field(max_length=200, description="Name to value; all values of the flag's type.")
]
