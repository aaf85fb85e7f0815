"""Text, HTML and SVG of every value: the only place that draws."""
