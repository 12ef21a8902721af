"""The flag language: compiles flagd definitions, evaluates them, and tells what is wrong with them. Pure."""

from undercroft.flags.domain.evaluation import NO_VALUE, ErrorCode, Evaluation, Metadata, NoValue, Reason
from undercroft.flags.domain.flag_set import FlagSet, compile_flag_set
from undercroft.flags.domain.problems import DefinitionError, Problem
from undercroft.flags.domain.validation import validate_document, validate_flag, variant_type

__all__ = [
    "NO_VALUE",
    "DefinitionError",
    "ErrorCode",
    "Evaluation",
    "FlagSet",
    "Metadata",
    "NoValue",
    "Problem",
    "Reason",
    "compile_flag_set",
    "validate_document",
    "validate_flag",
    "variant_type",
]
