"""What is wrong, how natop knows, and what to do: rules from evidence to findings."""

from natop.diagnose.registry import Rule
from natop.diagnose.rules import RULES
from natop.diagnose.verdict import Verdict, diagnose, verdict

__all__ = ["RULES", "Rule", "Verdict", "diagnose", "verdict"]
