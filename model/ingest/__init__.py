"""What people give us → validated `Case`s: the only door by which pictures, reports and tables come in.

`images` decodes pictures and masks, `reports` cleans free text and blanks likely identifiers, `cases` reads one case,
a folder of cases or a cohort table, and `files` writes without ever leaving half a file. Whatever is wrong with the
input ends in a `model.errors.ProblemError` that says what, where and how to mend it; whatever was changed on the way
in is told in a notice.
"""
