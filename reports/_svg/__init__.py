"""Our own drawing: inline SVG, from numbers to text, with no library and no script.

A picture drawn here prints, diffs, survives strict content policies and needs no network. Colour,
stroke and type come from the page's style sheet by class name, so one drawing serves light, dark
and paper; the only attributes in the drawing are its geometry.
"""
