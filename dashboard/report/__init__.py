"""One case as one page, to print or to keep: what is said (`content`), as HTML (`html`) and as PDF (`pdf`)."""
