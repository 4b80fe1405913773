"""What a JSON Schema allows, in plain English, for error messages."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def expected(schema: Schema) -> str:
    """Words such as "a whole number from 0 to 100". null is not mentioned: like omission, it means the default."""
    if "anyOf" in schema:
        return " or ".join(expected(each) for each in schema["anyOf"] if each.get("type") != "null")
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    match schema.get("type"):
        case "integer":
            return f"a whole number{_range(schema)}"
        case "number":
            return f"a number{_range(schema)}"
        case "string":
            return f"text{_length(schema)}"
        case "array":
            at_least = f"at least {schema['minItems']} of: " if "minItems" in schema else ""
            return f"a list of {at_least}{expected(schema['items'])}"
    return "a JSON object"


def _range(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    limits = {"at least": low, "above": schema.get("exclusiveMinimum"), "at most": high}
    return "".join(f", {words} {limit}" for words, limit in limits.items() if limit is not None)


def _length(schema: Schema) -> str:
    if "maxLength" in schema:
        return f" of {schema.get('minLength', 0)} to {schema['maxLength']} characters"
    return f" that matches {schema['pattern']}" if "pattern" in schema else ""
