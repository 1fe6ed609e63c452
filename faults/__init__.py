"""Ways to break a stack: one file, one fault. Copy the smallest one that is like yours.

A fault file has a module docstring (the incident it stands for and what good looks like), one
``@fault`` dataclass whose fields are its parameters, its five published severities, and nothing
else. It asks for a capability by the type of ``target``. Its tests, schema, documentation and
scenario syntax follow from that.
"""
